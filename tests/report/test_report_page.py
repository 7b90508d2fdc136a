import json
import os
import re
import subprocess
import sys
from dataclasses import replace
from html.parser import HTMLParser

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
from evaluation.package_rows import coverage_rows, size_rows
from report.pages import write_report

from distcnn.config import ReportConfig
from distcnn.errors import ColumnMissing, ConfigError, FileBroken, StoreError
from distcnn.evaluation import BaselineLabels, EvaluationData
from distcnn.events import Advanced, Notice, StageEnded, StageStarted
from distcnn.manifest import Manifest
from distcnn.report.figures.registry import FIGURES
from distcnn.report.figures.residuals import precision
from distcnn.report.figures.spectra import with_gaps
from distcnn.report.sections.registry import SECTIONS
from distcnn.style import style, wrapped_panels
from distcnn.survey import Store

CONFIG = ReportConfig(spectra=3)
PLAIN = ReportConfig(figures=())
EVERY_FIGURE = {
    "How many stars have labels",
    "Completeness over the sky",
    "Bias and coverage along each label",
    "Kiel diagram",
    "Alpha elements against metallicity",
    "Residuals",
    "Precision against S/N",
    "Are the quoted errors true?",
    "Pulls",
    "Errors by population",
    "Attenuation",
    "Bias along metallicity",
    "How many members are needed",
    "Novelty of the spectra",
    "Example spectra",
    "Learning curves",
    "Throughput",
}


class _Page(HTMLParser):
    def __init__(self, text):
        super().__init__()
        self.images, self.links, self.tags, self.open = {}, [], [], []
        self.ids, self.title = [], ""
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        values = dict(attrs)
        self.tags.append(tag)
        self.ids += [values["id"]] if "id" in values else []
        if tag == "h3":
            self.title = ""
        if tag == "img":
            self.images[self.title] = values["alt"]
        self.links += [values[name] for name in ("href", "src") if name in values]
        if tag not in ("img", "meta"):
            self.open.append(tag)

    def handle_data(self, text):
        if self.open and self.open[-1] == "h3":
            self.title += text

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def _numbers(folder):
    return json.loads((folder / "metrics.json").read_text())


@pytest.fixture(scope="module")
def written(products, tmp_path_factory):
    folder = tmp_path_factory.mktemp("report") / "new"
    events = []
    page = write_report(products.data, folder, CONFIG, events.append)
    return page.read_text(), _numbers(folder), events


def _rows(numbers, table, **wanted):
    return [row for row in numbers[table] if all(row[k] == v for k, v in wanted.items())]


def _judged(products):
    return ~products.seen & (products.trouble == "") & np.isfinite(products.label).all(axis=1)


def test_the_page_has_every_figure_and_needs_no_other_file(written):
    page = _Page(written[0])
    assert set(page.images) == EVERY_FIGURE
    assert not page.open
    beside = ("data:image/", "figures/", "tables/", "#")
    assert all(link.startswith(beside) for link in page.links)
    assert not {"link", "iframe"} & set(page.tags)
    assert page.tags.count("script") == 1
    assert not re.search(r"url\(|@import|https?://|src=\"(?!data:)", written[0])


def test_accuracy_is_that_of_undamaged_stars_outside_training(written, products):
    judged = _judged(products)
    residual = (products.label - products.truth)[judged]
    (row,) = _rows(written[1], "accuracy", label="teff", snr="all", method="network")
    assert row["stars"] == judged.sum() == written[1]["judged"]
    assert row["std"] == pytest.approx(residual[:, 0].std(), rel=1e-4)
    assert row["bias"] == pytest.approx(residual[:, 0].mean(), abs=1e-2)
    assert row["mad"] == pytest.approx(
        1.4826 * np.median(np.abs(residual[:, 0] - np.median(residual[:, 0]))), rel=1e-4
    )


def test_the_faint_stars_are_compared_with_the_baselines(written, products):
    faint = _judged(products) & (products.snr >= 15) & (products.snr < 25)
    (row,) = _rows(written[1], "comparison", label="mh", snr="15-25")
    assert row["stars"] == faint.sum()
    assert set(row["methods"]) == {"network", "ridge", "photometry alone"}
    assert row["network_wins"]
    assert row["methods"]["ridge"]["std"] > 1.5 * row["methods"]["network"]["std"]


def test_right_errors_are_called_calibrated(written):
    for row in _rows(written[1], "coverage", snr="all"):
        assert row["within_68"] == pytest.approx(0.683, abs=0.06)
        assert row["within_95"] == pytest.approx(0.954, abs=0.03)


def test_what_the_package_says_of_itself_is_shown_beside_it(written):
    package = written[1]["package"]
    assert {row["cell"] for row in package["coverage"]} == {"all", "giant", "no XP"}
    assert {row["members"] for row in package["ensemble_size"]} == {1, 2, 4, 8}
    assert "Every size" in written[0]
    assert "The package&#39;s own table, of the calibration stars: slope" in written[0]


def test_packages_that_say_less_make_a_page(products, tmp_path):
    config = ReportConfig(figures=("cells", "ensemble"))
    old = {
        "coverage": [{"label": "mh", "snr": "all", "stars": 0}, *coverage_rows(cells=("all",))],
        "ensemble_size": size_rows(sizes=(1,)),
        "attenuation": [{"label": "mh", "snr": "all", "stars": 2, "slope": None}],
    }
    old["coverage"] = [{k: v for k, v in row.items() if k != "cell"} for row in old["coverage"]]
    for number, manifest in enumerate((old, {})):
        data = replace(products.data, manifest=Manifest.from_json(manifest))
        page = write_report(data, tmp_path / str(number), config).read_text()
        assert "How many members are needed" not in _Page(page).images
        assert "Errors by population" in _Page(page).images


def test_the_package_is_shown_where_nobody_is_judged(products, tmp_path):
    data = EvaluationData(products.data.predictions, manifest=products.data.manifest)
    config = ReportConfig(figures=("cells", "attenuation", "poor", "ensemble"))
    page = write_report(data, tmp_path, config).read_text()
    assert set(_Page(page).images) == {
        "Errors by population",
        "Attenuation",
        "How many members are needed",
    }
    assert ">0.950<" in page
    assert ">0.0400<" in page


def test_flags_are_counted_over_every_star(written, products):
    store = Store.open(products.data.predictions)
    flags = np.concatenate([store.read(r, ["flags"])["flags"] for r in store.regions()])
    (novel,) = _rows(written[1], "flags", flag="NOVEL_SPECTRUM")
    assert novel["stars"] == (flags & 4 != 0).sum()
    assert written[1]["unflagged"] == (flags == 0).sum()
    assert written[1]["status"] == {"waiting": 0, "done": 1499, "failed": 1}


def test_trouble_is_set_against_clean_stars(written):
    rows = {row["trouble"]: row for row in written[1]["trouble"]}
    assert set(rows) == {"clean", "wrong_rv", "binary", "cosmic"}
    assert rows["wrong_rv"]["any"] == 1.0
    assert rows["clean"]["flags"]["NOVEL_SPECTRUM"] < 0.05
    assert rows["cosmic"]["stars"] < rows["binary"]["stars"]


def test_the_quarantine_is_listed_by_reason(written):
    rows = {row["reason"]: row for row in written[1]["quarantine"]}
    assert rows["duplicate_source_id"]["rows"] == 2
    assert "another row of the star is kept" in rows["duplicate_source_id"]["meaning"]
    assert "row 4" in rows["wrong_array_length"]["example"]


def test_throughput_comes_from_the_ledger(written):
    speed = written[1]["throughput"]
    assert len(speed["regions"]) == 3
    total = sum(row["seconds"]["total"] for row in speed["regions"])
    assert speed["stars_per_second"] == pytest.approx(1500 / total)


def test_the_listener_hears_of_every_star_and_every_figure(written):
    events = written[2]
    begun = [event for event in events if isinstance(event, StageStarted)]
    assert {event.stage: event.total for event in begun} == {"evaluate": 1500, "report": 17}
    for stage in begun:
        steps = [e for e in events if isinstance(e, Advanced) and e.stage == stage.stage]
        assert sum(event.count for event in steps) == stage.total
    ended = [event.stage for event in events if isinstance(event, StageEnded)]
    assert ended == ["evaluate", "report"]


def test_the_same_input_gives_the_same_page(products, tmp_path):
    config = ReportConfig(figures=("kiel", "spectra", "novelty"), spectra=1)
    one, two = (write_report(products.data, tmp_path / n, config).read_text() for n in "ab")
    assert one == two


def test_real_surveys_are_judged_by_their_references(products, tmp_path):
    write_report(replace(products.data, truth=None), tmp_path, PLAIN)
    numbers = _numbers(tmp_path)
    assert numbers["judged_against"] == "references"
    assert numbers["trouble"] == []
    assert 100 < numbers["judged"] < _judged(products).sum()
    (row,) = _rows(numbers, "coverage", label="logg", snr="all")
    assert row["within_68"] == pytest.approx(0.66, abs=0.12)


def test_predictions_alone_make_a_page(products, tmp_path):
    page = write_report(EvaluationData(products.data.predictions), tmp_path, CONFIG).read_text()
    assert set(_Page(page).images) == {
        "How many stars have labels",
        "Completeness over the sky",
        "Kiel diagram",
        "Alpha elements against metallicity",
        "Novelty of the spectra",
        "Throughput",
    }
    assert _numbers(tmp_path)["judged"] == 0
    assert "nothing is evaluated here" in page


def test_a_baseline_that_knows_few_stars_narrows_the_comparison(products, tmp_path):
    few = np.flatnonzero(_judged(products))[:50]
    baselines = {"few": BaselineLabels(products.ids[few], products.truth[few])}
    write_report(replace(products.data, baselines=baselines), tmp_path, PLAIN)
    rows = _rows(_numbers(tmp_path), "accuracy", label="teff", snr="all")
    assert {row["stars"] for row in rows} == {50}
    assert not rows[0]["best_std"]


def test_a_survey_larger_than_the_sample_is_sampled_and_fully_counted(make, tmp_path):
    small = make(tmp_path, stars=4000, pixels=10)
    write_report(small.data, tmp_path / "report", ReportConfig(figures=(), sample=1000))
    numbers = _numbers(tmp_path / "report")
    assert numbers["stars"] == 4000
    assert sum(numbers["status"].values()) == 4000
    assert numbers["judged"] == pytest.approx(_judged(small).sum() / 4, rel=0.15)


def test_tiny_surveys_make_a_page(make, tmp_path):
    tiny = make(tmp_path, stars=8, pixels=10)
    config = ReportConfig(figures=("kiel", "residuals", "coverage"))
    page = write_report(tiny.data, tmp_path / "report", config).read_text()
    assert "8 stars, 5 labels" in page


def test_only_the_figures_asked_for_are_made(products, tmp_path):
    config = ReportConfig(figures=("pulls", "speed"))
    page = write_report(products.data, tmp_path, config).read_text()
    assert set(_Page(page).images) == {"Pulls", "Throughput"}


def test_a_figure_that_does_not_exist_is_refused_with_the_nearest_name(products, tmp_path):
    with pytest.raises(ConfigError, match="Did you mean 'kiel'"):
        write_report(products.data, tmp_path / "r", ReportConfig(figures=("keil",)))
    assert not (tmp_path / "r").exists()


def test_a_figure_that_was_asked_for_and_cannot_be_drawn_is_told(products, tmp_path):
    events = []
    data = EvaluationData(products.data.predictions)
    write_report(data, tmp_path, ReportConfig(figures=("learning",)), events.append)
    (notice,) = [event for event in events if isinstance(event, Notice)]
    assert notice.text == "figure 'learning' is not drawn: it needs the package"


def test_every_figure_stands_in_a_section_of_the_page_under_a_name_of_its_own():
    assert {figure.section for figure in FIGURES} <= {section.key for section in SECTIONS}
    assert len({figure.key for figure in FIGURES}) == len(FIGURES)


def test_every_section_begins_with_a_sentence_that_says_what_is_seen(written):
    for section in SECTIONS:
        begin = written[0].split(f'<h2 id="heading-{section.key}">')[1]
        assert begin.startswith(f'{section.title}</h2>\n<p class="lead">{section.lead}</p>')
        assert section.lead.endswith(".")


def test_a_scatter_of_one_star_is_said_to_be_none():
    row = {"label": "teff", "snr": "15-25", "method": "network", "mad": 0.0}
    with style():
        figure = precision([row], ("teff",))
    assert [text.get_text() for text in figure.axes[0].texts] == ["too few stars"]


def test_many_labels_are_drawn_in_rows_and_keep_their_axes():
    panels = wrapped_panels(24, lines=2, height=2.0)
    panels.set_ylabel(0, "upper")
    panels.label_outer()
    assert panels.figure.get_size_inches() == pytest.approx([11.0, 20.0])
    assert panels.axes.shape == (2, 24)
    assert [ax.get_ylabel() for ax in panels.axes[0]] == (["upper", *[""] * 4] * 5)[:24]
    labelled = [ax.xaxis.get_major_ticks()[0].label1.get_visible() for ax in panels.axes[1]]
    assert labelled == [False] * 19 + [True] * 5


def test_provenance_is_printed_and_escaped(products, tmp_path):
    document = {"note": "<script>alert(1)</script>", "files": {"a": "x" * 300}, "seed": 5}
    data = replace(products.data, manifest=Manifest.from_json(document))
    page = write_report(data, tmp_path, PLAIN).read_text()
    assert "<script>alert" not in page
    assert "files.a" in page
    assert "x" * 300 not in page


def test_another_survey_is_refused(make, products, tmp_path):
    other = make(tmp_path, stars=600, pixels=10, seed=9)
    with pytest.raises(StoreError, match="600"):
        write_report(replace(products.data, survey=other.data.survey), tmp_path / "r", PLAIN)


def test_a_survey_of_other_stars_is_refused(make, products, tmp_path):
    other = make(tmp_path, stars=1500, pixels=10, seed=9)
    data = replace(products.data, survey=other.data.survey, truth=None)
    with pytest.raises(StoreError, match="other stars"):
        write_report(data, tmp_path / "r", PLAIN)
    assert not (tmp_path / "r").exists()


def test_a_truth_table_that_cannot_be_used_is_named(products, tmp_path):
    broken = tmp_path / "truth.parquet"
    broken.write_text("no parquet")
    with pytest.raises(FileBroken, match=r"truth\.parquet"):
        write_report(replace(products.data, truth=broken), tmp_path / "r", PLAIN)
    pd.DataFrame({"source_id": [1]}).to_parquet(broken)
    with pytest.raises(ColumnMissing, match="trouble"):
        write_report(replace(products.data, truth=broken), tmp_path / "r", PLAIN)


def test_a_folder_that_cannot_be_written_is_named(products, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match="file"):
        write_report(EvaluationData(products.data.predictions), tmp_path / "file", PLAIN)


def test_the_users_settings_of_matplotlib_do_not_matter():
    with style():
        wanted = dict(mpl.rcParams)
    users = {"text.usetex": True, "font.size": 60, "figure.dpi": 10, "savefig.format": "pdf"}
    with mpl.rc_context(users):
        with style():
            assert dict(mpl.rcParams) == wanted
        assert {name: mpl.rcParams[name] for name in users} == users


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (b"text.usetex: True\nno.such_key: 3\nfont.size: [\n", ""),
        (b"# caf\xe9\n", "matplotlib cannot read the user's file matplotlibrc"),
    ],
)
def test_the_users_matplotlibrc_is_no_traceback_and_no_noise(text, told, tmp_path):
    (tmp_path / "matplotlibrc").write_bytes(text)
    code = "from distcnn.errors import DistcnnError\ntry: import distcnn.report\n"
    code += "except DistcnnError as error: print(error)"
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "MPLCONFIGDIR": str(tmp_path), "PYTHONPATH": os.pathsep.join(sys.path)},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith(told)
    assert bool(done.stdout) == bool(told)


def test_no_line_is_drawn_between_windows_of_a_grid():
    wavelength = np.array([1.0, 2.0, 3.0, 100.0, 101.0])
    at, flux = with_gaps(wavelength, np.ones(5))
    assert at.tolist() == [1.0, 2.0, 3.0, 51.5, 100.0, 101.0]
    assert np.flatnonzero(np.isnan(flux)).tolist() == [3]
