"""The page in a real browser: no error, nothing missing, nothing dead, and usable by everybody."""

import shutil
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest
from evaluation.products import make_products
from report.finished_results import make_all
from report.pages import write_report

from distcnn.config import ReportConfig
from distcnn.report import find_finished

CHROMIUM = shutil.which("chromium")
FIGURES = ("completeness", "kiel", "coverage", "spectra")
LOOKS = {
    "light": (1280, "light"),
    "dark": (1280, "dark"),
    "phone": (390, "light"),
    "dark phone": (390, "dark"),
}


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    """A page with every section filled; the path of its file."""
    folder = tmp_path_factory.mktemp("browser")
    products = make_products(folder, stars=800, pixels=30)
    make_all(folder)
    config = ReportConfig(figures=FIGURES, spectra=2)
    finished = find_finished(products.data)
    return write_report(products.data, folder / "report", config, finished=finished)


@pytest.fixture(scope="module")
def browser():
    sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    if CHROMIUM is None:
        pytest.skip("chromium is not installed")
    with sync_api.sync_playwright() as play:
        opened = play.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield opened
        opened.close()


@pytest.fixture
def visit(browser, report):
    """Opens the page in one of the looks; ``trouble`` collects what the browser complains of."""
    contexts = []

    def go(look="light"):
        width, scheme = LOOKS[look]
        context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme)
        contexts.append(context)
        page = context.new_page()
        page.trouble = []
        page.on("console", lambda message: page.trouble.append(message.text))
        page.on("pageerror", lambda error: page.trouble.append(str(error)))
        page.on("requestfailed", lambda request: page.trouble.append(request.url))
        page.goto(report.as_uri())
        return page

    yield go
    for context in contexts:
        context.close()


@pytest.mark.parametrize("look", LOOKS)
def test_axe_finds_nothing_and_the_browser_complains_of_nothing(visit, look):
    axe = pytest.importorskip("axe_playwright_python.sync_playwright")
    page = visit(look)
    page.evaluate("document.querySelectorAll('details').forEach(one => { one.open = true; })")
    found = axe.Axe().run(page).response
    wrong = {one["id"]: [node["html"] for node in one["nodes"]] for one in found["violations"]}
    assert wrong == {}
    assert len(found["passes"]) > 20
    assert page.trouble == []
    assert page.evaluate("document.documentElement.scrollWidth") <= LOOKS[look][0]


def test_every_figure_is_drawn_and_says_what_it_shows(visit):
    images = visit().evaluate(
        "Array.from(document.images, one => [one.alt, one.complete, one.naturalWidth])"
    )
    assert len(images) == len(FIGURES) + 6
    assert all(complete and width > 100 for _, complete, width in images)
    assert all(len(alt.split()) > 3 for alt, _, _ in images)


def test_no_link_is_dead(visit, report):
    page = visit()
    links = page.evaluate("Array.from(document.links, one => one.getAttribute('href'))")
    ids = set(page.evaluate("Array.from(document.querySelectorAll('[id]'), one => one.id)"))
    inside = [link for link in links if link.startswith("#")]
    beside = [unquote(urlsplit(link).path) for link in links if not link.startswith("#")]
    assert len(inside) > 15
    assert {link[1:] for link in inside} <= ids
    assert len(beside) > 30
    assert [name for name in beside if not (report.parent / name).is_file()] == []


def test_the_page_is_small_enough_to_be_sent(report):
    assert Path(report).stat().st_size < 10_000_000


def test_the_switch_turns_to_dark_and_back_and_figures_follow(visit):
    page = visit()
    ground = "getComputedStyle(document.body).backgroundColor"
    filtering = "getComputedStyle(document.images[0]).filter"
    before = page.evaluate(f"[{ground}, {filtering}]")
    assert before[1] == "none"
    page.get_by_role("button", name="Dark colours").click()
    after = page.evaluate(f"[{ground}, {filtering}]")
    assert after[0] != before[0]
    assert "invert" in after[1]
    page.get_by_role("button", name="Light colours").click()
    assert page.evaluate(f"[{ground}, {filtering}]") == before


def test_a_table_is_sorted_by_the_keyboard_and_says_so(visit):
    page = visit()
    table = page.locator("#table-within_68")
    head = table.get_by_role("columnheader").nth(1)
    column = "#table-within_68 tbody tr td:nth-child(2)"
    found = []
    for _ in range(2):
        head.get_by_role("button").focus()
        page.keyboard.press("Enter")
        values = page.locator(column).evaluate_all(
            "all => all.map(one => Number(one.dataset.value))"
        )
        found.append((head.get_attribute("aria-sort"), values))
    assert found[0] == ("ascending", sorted(found[0][1]))
    assert found[1] == ("descending", sorted(found[1][1], reverse=True))
    assert len(found[0][1]) == 5
    assert page.get_by_role("status").inner_text().startswith("Sorted by all S/N")


def test_the_first_tab_leads_past_the_navigation(visit):
    page = visit()
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "Skip to the content"
    page.keyboard.press("Enter")
    page.keyboard.press("Tab")
    assert page.evaluate("document.getElementById('main').contains(document.activeElement)")


def test_without_scripts_the_page_shows_everything(browser, report):
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(report.as_uri())
    assert page.get_by_role("heading", name="Where not to trust").is_visible()
    assert page.get_by_role("button").count() == 0
    assert page.locator("table.sortable").count() > 15
    context.close()


def test_on_a_phone_rows_with_sentences_are_lists_and_what_goes_on_fades(visit):
    wide, narrow = visit(), visit("phone")
    row = "#table-checks tbody tr"
    shown = "one => getComputedStyle(one).display"
    assert wide.locator(row).first.evaluate(shown) == "table-row"
    assert narrow.locator(row).first.evaluate(shown) == "block"
    cells = narrow.locator(f"{row} td")
    assert cells.first.evaluate("one => getComputedStyle(one, '::before').content").startswith('"')
    assert narrow.locator("#table-checks .scroll").evaluate(_OVERHANG) == 0
    box = narrow.locator("#figure-kiel .scroll")
    assert box.evaluate(_OVERHANG) > 0
    assert "more" in box.get_attribute("class").split()
    box.evaluate("one => { one.scrollLeft = one.scrollWidth; }")
    narrow.wait_for_selector("#figure-kiel .scroll:not(.more)")
    assert narrow.locator("img:not(.wide)").count() > 3
    one_panel = narrow.locator(".scroll:has(> img:not(.wide))")
    assert set(one_panel.evaluate_all(f"all => all.map({_OVERHANG})")) == {0}


_OVERHANG = "one => one.scrollWidth - one.clientWidth"
