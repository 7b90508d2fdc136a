"""What other commands have found stands on the page, or the command that would find it."""

import pytest
from report.finished_results import make_all, make_check, make_map
from report.pages import write_report

from distcnn.config import ReportConfig
from distcnn.ecsv import TableColumn, TextTable, from_ecsv, to_ecsv
from distcnn.errors import ConfigError, FileBroken, InputError
from distcnn.events import Notice
from distcnn.report import find_finished
from distcnn.report.blocks import Column, significant
from distcnn.survey import Store

PLAIN = ReportConfig(figures=())


@pytest.fixture
def own(make, tmp_path):
    return make(tmp_path, stars=300, pixels=20)


def test_results_beside_the_predictions_stand_in_their_sections(own, tmp_path):
    make_all(tmp_path)
    finished = find_finished(own.data)
    page = write_report(own.data, tmp_path / "r", PLAIN, finished=finished).read_text()
    for text in (
        "velocity: 0.12 of 0.10 allowed, ± 0.01 at S/N ≥ 100",
        "Is halo as it should be?",
        "galaxy: 20.4 % of the stars are unlike",
        "Numbers of tsne",
        "Every method, on the same stars",
    ):
        assert text in page
    assert "This makes it:" not in page.split('id="checks"')[1].split('id="spectra"')[0]
    for name in ("checks_velocity_figure", "tsne_tsne_kinds", "rivals_rivals_baselines"):
        for ending in ("png", "pdf", "svg"):
            assert (tmp_path / "r" / "figures" / f"{name}.{ending}").stat().st_size > 500
    table = from_ecsv((tmp_path / "r" / "tables" / "galaxy_comparison.ecsv").read_bytes(), "t")
    assert [row["std"] for row in table.rows] == [61.5, 70.25]


def test_a_judged_table_without_bins_of_snr_is_shown_whole_and_once(own, tmp_path):
    rows = [{"label": "teff", "method": name, "stars": 12, "std": 61.5} for name in ("a", "b")]
    table = TextTable([TableColumn(name) for name in rows[0]], rows)
    make_all(tmp_path)
    (tmp_path / "baselines.ecsv").write_bytes(to_ecsv(table))
    write_report(own.data, tmp_path / "r", PLAIN, finished=find_finished(own.data))
    (shown,) = (tmp_path / "r" / "tables").glob("rivals*.ecsv")
    assert len(from_ecsv(shown.read_bytes(), "t").rows) == 2


def test_failed_checks_come_first_under_where_not_to_trust(own, tmp_path):
    make_all(tmp_path)
    page = write_report(own.data, tmp_path / "r", PLAIN, finished=find_finished(own.data))
    trust = page.read_text().split('<section id="trust"')[1].split("</section>")[0]
    assert trust.index("velocity: 0.12") < trust.index("halo: 0.12")
    assert "noise: 0.12" not in trust
    assert "failed<" in trust


def test_a_section_without_its_input_names_the_command_that_makes_it(own, tmp_path):
    page = write_report(own.data, tmp_path / "r", PLAIN).read_text()
    for key, command in {
        "checks": "distcnn check all PACKAGE survey.zarr checks --predictions predictions.zarr",
        "tsne": "distcnn map tsne PACKAGE survey.zarr tsne",
        "galaxy": "distcnn map galaxy predictions.zarr galaxy",
        "rivals": "distcnn compare survey.zarr baselines.parquet --package PACKAGE",
    }.items():
        section = page.split(f'<section id="{key}"')[1].split("</section>")[0]
        assert f"<code>{command}</code>" in section


def test_results_of_another_package_are_left_out_or_refused_if_named(own, tmp_path):
    make_check(tmp_path / "checks", "noise", "passed", package="other")
    make_map(tmp_path / "elsewhere", "tsne", package={"digest": "other"})
    events = []
    Store.open(own.data.predictions).annotate({"package": {"digest": "mine"}})
    assert find_finished(own.data, events.append).checks == ()
    (told,) = [event.text for event in events if isinstance(event, Notice)]
    assert "noise is of another package; it is not shown" in told
    with pytest.raises(InputError, match="another package"):
        find_finished(own.data, tsne=tmp_path / "elsewhere")


def test_a_folder_that_is_named_and_has_no_result_is_refused(own, tmp_path):
    with pytest.raises(InputError, match="`distcnn map galaxy`"):
        find_finished(own.data, galaxy=tmp_path / "nothing")


def test_an_answer_that_cannot_be_read_is_named(own, tmp_path):
    make_check(tmp_path / "checks", "noise", "passed")
    (tmp_path / "checks" / "noise" / "answer.json").write_text("{")
    with pytest.raises(FileBroken, match=r"answer\.json"):
        find_finished(own.data)


def test_only_the_sections_asked_for_are_shown(own, tmp_path):
    config = ReportConfig(figures=(), sections=("cite", "trust"))
    page = write_report(own.data, tmp_path / "r", config).read_text()
    assert page.index('<section id="trust"') < page.index('<section id="cite"')
    assert page.count("<section ") == page.count('<li><a href="#') == 2


def test_a_section_that_does_not_exist_is_refused_with_the_nearest_name(own, tmp_path):
    with pytest.raises(ConfigError, match="Did you mean 'completeness'"):
        write_report(own.data, tmp_path / "r", ReportConfig(sections=("completness",)))


def test_files_of_the_report_before_go_and_files_of_others_stay(own, tmp_path):
    out = tmp_path / "r"
    write_report(own.data, out, ReportConfig(figures=("kiel",)))
    (out / "figures" / "mine.png").write_text("mine")
    write_report(own.data, out, PLAIN)
    assert [path.name for path in (out / "figures").iterdir()] == ["mine.png"]
    assert (out / "index.html").exists()


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (9254.66, "9,255"),
        (58.642, "58.6"),
        (-4.2286, "-4.23"),
        (0.054321, "0.0543"),
        (0.00008, "0.0001"),
        (0.0, "0.00"),
    ],
)
def test_numbers_of_any_size_keep_three_digits_that_count(value, text):
    assert significant(value) == text
    assert Column("std", "std", "significant").text({"std": value}) == text


def test_the_judged_table_shows_all_stars_first_and_its_bins_when_opened(own, tmp_path):
    make_all(tmp_path)
    columns = [TableColumn(name, "", "") for name in ("label", "snr", "std", "best_std")]
    row = {"label": "teff", "std": 60.5, "best_std": True}
    rows = [{**row, "snr": snr} for snr in ("all", "15-25")]
    (tmp_path / "baselines.ecsv").write_bytes(to_ecsv(TextTable(columns, rows)))
    write_report(own.data, tmp_path / "r", PLAIN, finished=find_finished(own.data))
    shown, whole = (
        from_ecsv((tmp_path / "r" / "tables" / f"rivals_baselines{end}.ecsv").read_bytes(), end)
        for end in ("_all", "")
    )
    assert [row["snr"] for row in whole.rows] == ["all", "15-25"]
    assert shown.rows == [{"label": "teff", "std": 60.5}]
