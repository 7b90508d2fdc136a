"""Tables and figure of README.md: what the results say, and nothing else."""

import copy
import json
from importlib import import_module
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
README = """# Title

Before.

<!-- speed: made by benchmarks/render.py -->
<!-- end -->

Between.

<!-- more: made by benchmarks/render.py -->
<!-- end -->
"""
RUN = {
    "seconds": [41.0, 40.0, 42.0],
    "spread": 0.05,
    "compute_share": 0.9,
    "memory": 500_000_000,
    "load": [1.0, 2.0],
}
TRIAL = {"candidate": "joint float32", "stars_per_second": 1150.0, "refused": ""}
REFUSED = {"candidate": "aot float32", "stars_per_second": None, "refused": "by name only"}
KERAS = {
    "stars_per_second": 800.0,
    "as_it_comes": 400.0,
    "batch": 1024,
    "xla": True,
    "threads": 2,
    "tensorflow": "2.21.0",
    "parity": 1.4e-6,
}
SPEED = {
    "hardware": "A processor",
    "commit": "abc1234",
    "date": "2026-11-22T10:00:00+00:00",
    "cores": 2,
    "stars": 262_144,
    "members": 28,
    "pixels": 800,
    "naive": {"threads": 2, "stars_per_second": 500.0, "stars_per_cpu_second": 260.0},
    "naive_per_core": {"threads": 1, "stars_per_second": 299.0, "stars_per_cpu_second": 300.0},
    "keras": KERAS,
    "ceilings": {"matmul_stars_per_s": 1700, "decode_stars_per_s": 130_000},
    "runs": {
        "1": {"workers": 1, "stars_per_second": 1_000, **RUN},
        "2": {"workers": 2, "stars_per_second": 1_900, **RUN},
    },
    "stars_per_second": 1_900,
    "ratio_to_naive": 3.8,
    "ratio_to_naive_per_core": 3.17,
    "ratio_to_keras": 2.38,
    "percent_of_matmul": 55.9,
    "percent_of_decode": 0.7,
    "binding": "arithmetic",
    "engine": "joint float32",
    "parity": 1.3e-6,
    "trials": [TRIAL, REFUSED],
    "recomputed": 2048,
    "identical": 2048,
    "first_star": {"cold": 13.7, "warm": 8.05},
    "load": [0.5, 2.5],
}
ROWS = (
    "| End to end, 2 workers | 1,900 stars/s | median of 3 runs, spread 5 %, load 1.5 |",
    "| End to end, 1 worker | 1,000 stars/s | median of 3 runs, spread 5 %, load 1.5 |",
    "| Over the plain loop, all cores | 3.80 | 500 stars/s with 2 threads |",
    "| Over the plain loop, per core | 3.17 | 300 stars per CPU second with 1 thread |",
    "| Over Keras, all cores | 2.38 | `model.predict`, TensorFlow 2.21.0: 800 stars/s with 2 "
    "threads in batches of 1,024, XLA, within 1.4e-06 label errors of ours |",
    "| Over Keras as it comes | 4.75 | 400 stars/s in batches of 32 |",
    "| 2 workers over 1 worker | 1.90 |  |",
    "| Memory of a worker | 500 MB | largest resident size |",
)


class Place:
    """A README and a folder of results."""

    def __init__(self, folder):
        self.readme, self.results = folder / "README.md", folder / "results"
        self.results.mkdir()
        self.readme.write_text(README)

    def put(self, name, result):
        (self.results / name).write_text(json.dumps(result))


@pytest.fixture
def render(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    return import_module("render")


@pytest.fixture
def place(tmp_path):
    place = Place(tmp_path)
    place.put("inference-A-abc1234.json", SPEED)
    return place


def run(render, place, *words):
    render.main(["--results", str(place.results), "--readme", str(place.readme), *words])
    return place.readme.read_text()


def test_every_measurement_has_a_row_with_its_conditions(render, place):
    text = run(render, place)
    for row in ROWS:
        assert row in text
    assert (
        "**A processor**, commit abc1234, 2026-11-22, 2 cores, 28 members, 800 pixels, "
        "262,144 stars, load 0.5 before and 2.5 after:" in text
    )
    assert "55.9 % of products, 0.7 % of decoding" in text
    assert "arithmetic binds" in text
    assert "](results/inference.svg)" in text
    assert text.startswith("# Title\n\nBefore.\n\n<!-- speed")
    assert "\n<!-- end -->\n\nBetween.\n\n<!-- more" in text


def test_what_was_not_measured_has_no_row(render, place):
    place.put("inference-A-abc1234.json", {**SPEED, "keras": None, "ratio_to_keras": None})
    text = run(render, place)
    assert "Keras" not in text
    assert "Keras" not in (place.results / "inference.svg").read_text()


def test_a_section_without_results_says_what_would_make_them(render, place):
    (place.results / "inference-A-abc1234.json").unlink()
    assert "Not measured yet: `python benchmarks/inference.py` does it." in run(render, place)
    assert not (place.results / "inference.svg").exists()


def test_rendering_again_changes_no_byte(render, place):
    text, figure = run(render, place), (place.results / "inference.svg").read_bytes()
    assert run(render, place) == text
    assert (place.results / "inference.svg").read_bytes() == figure


def test_a_check_passes_on_what_was_rendered_and_writes_nothing(render, place):
    with pytest.raises(SystemExit, match=r"Out of date"):
        run(render, place, "--check")
    assert place.readme.read_text() == README
    text = run(render, place)
    assert run(render, place, "--check") == text


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        ("ratio_to_naive", 3.9, r"\+\| Over the plain loop, all cores \| 3\.90 "),
        ("trials", [{**TRIAL, "stars_per_second": 1151.0}], "inference.svg shows other numbers"),
    ],
)
def test_a_check_notices_another_result(render, place, key, value, said):
    run(render, place)
    place.put("inference-A-abc1234.json", {**SPEED, key: value})
    with pytest.raises(SystemExit, match=said):
        run(render, place, "--check")


def test_a_check_notices_a_number_changed_by_hand(render, place):
    place.readme.write_text(run(render, place).replace("1,900 stars/s", "2,900 stars/s"))
    with pytest.raises(SystemExit, match=r"\+\| End to end, 2 workers \| 1,900 stars/s"):
        run(render, place, "--check")


def test_of_two_results_of_one_hardware_the_newer_counts(render, place):
    newer = copy.deepcopy(SPEED) | {"date": "2026-11-23T09:00:00+00:00", "ratio_to_naive": 4.5}
    place.put("inference-A-0000000.json", newer)
    place.put("inference-short-A.json", newer | {"date": "2027-01-01"})
    text = run(render, place)
    assert "| Over the plain loop, all cores | 4.50 |" in text
    assert "3.80" not in text
    place.put("inference-A-1111111.json", newer)
    with pytest.raises(SystemExit, match="2 newest results of inference on A processor"):
        run(render, place)


def test_every_hardware_has_a_table_and_a_part_of_the_figure(render, place):
    place.put("inference-B-abc1234.json", {**SPEED, "hardware": "B processor"})
    text = run(render, place)
    assert text.index("**A processor**") < text.index("**B processor**")
    assert text.count("![") == 1
    assert "B processor" in (place.results / "inference.svg").read_text()


def test_other_results_get_a_table_of_what_they_have(render, place):
    found = {"hardware": "A", "commit": "1", "per_region_ratio": 1.02, "peak_bytes": 5e8}
    place.put("scaling-A-1.json", found)
    text = run(render, place)
    assert "| Time per region, the most regions over the fewest | 1.02 |" in text
    assert "| Memory with the most regions | 500 MB |" in text
    assert "forced to disk" not in text


def method_row(method, mad, snr="all", **changes):
    row = {"label": "mh", "snr": snr, "method": method, "stars": 900, "mad": mad, "std": 0.2}
    row |= {"within_68": 0.5, "stars_per_second": 1234.0, "best_mad": mad < 0.1, "best_std": False}
    return row | changes


def test_where_another_method_has_less_scatter_is_said_below_the_table(render):
    rivals = import_module("rendering.rivals").rivals
    rows = [
        method_row("network", 0.07),
        method_row("The Cannon", 0.12, within_68=None),
        method_row("network", 0.11, ">= 100"),
        method_row("The Cannon", 0.04, ">= 100"),
    ]
    found = {"title": "MILES", "folds": 2, "training": 450, "rows": rows}
    text = rivals({"hardware": "A processor", "commit": "abc", "data": {"miles": found}})
    assert "**MILES**: 2 of 5 folds, 450 training stars, 900 judged." in text
    older = {"hardware": "A processor", "commit": "abc", "data": {"miles": found | {"commit": "d"}}}
    assert "**MILES**: commit d, 2 of 5 folds, 450 training stars" in rivals(older)
    assert "| network | **0.070** / 0.200 (50) | 1,234 |" in text
    assert "| The Cannon | 0.120 / 0.200 | 1,234 |" in text
    assert "S/N >= 100: The Cannon 0.040 against 0.110" in text
    assert "S/N all" not in text
    known = dict.fromkeys(("bias", "std", "mad", "slope", "within_68"), 0.01)
    errors = {f"{name}_error": value for name, value in known.items()}
    ratio = [1.2, 1.2, 1.2, 0.6]
    found["rows"] = [
        {**known, **row, **errors, "mad_ratio_high": high}
        for row, high in zip(rows, ratio, strict=True)
    ]
    text = rivals({"hardware": "A processor", "commit": "abc", "data": {"miles": found}})
    assert "| network | **0.070 ± 0.010** / 0.200 ± 0.010 (50) | 1,234 |" in text
    assert "The Cannon 0.040 ± 0.010 against 0.110 ± 0.010, not by chance" in text
    assert "<details>" in text


@pytest.mark.parametrize(
    ("broken", "said"),
    [
        (README.replace("speed:", "spede:"), "section spede: expected one of speed"),
        (README.replace("<!-- end -->", "", 1), "does not end"),
        (README.removesuffix("<!-- end -->\n"), "does not end"),
    ],
)
def test_a_section_that_cannot_be_made_is_an_error(render, place, broken, said):
    place.readme.write_text(broken)
    with pytest.raises(SystemExit, match=said):
        run(render, place)
    assert place.readme.read_text() == broken


def test_the_readme_of_the_project_is_what_its_results_say(render):
    render.main(["--check"])


def test_the_picture_of_the_readme_is_taken_from_a_report(render, place, tmp_path):
    (tmp_path / "figures").mkdir()
    words = ["--results", str(place.results), "--report", str(tmp_path)]
    with pytest.raises(SystemExit, match=r"no figure coverage\.svg"):
        render.main(words)
    (tmp_path / "figures" / "coverage.svg").write_bytes(b"<svg>")
    render.main(words)
    assert (place.results / "coverage.svg").read_bytes() == b"<svg>"
