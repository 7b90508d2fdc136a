"""Results of checks, maps and compared methods, as their commands leave them beside predictions."""

import json
from pathlib import Path

from matplotlib.figure import Figure

from distcnn.ecsv import TableColumn, TextTable, to_ecsv
from distcnn.style import save_figure, style

ROWS = (
    {"label": "teff", "snr": "15-25", "method": "network", "stars": 12, "std": 61.5},
    {"label": "teff", "snr": "15-25", "method": "ridge", "stars": 12, "std": 70.25},
)


def _figure(folder: Path, name: str) -> None:
    with style():
        figure = Figure(figsize=(3, 2))
        figure.subplots().plot([1, 2, 3])
        save_figure(figure, folder, name)


def _table(path: Path, rows=ROWS) -> None:
    columns = [TableColumn(name) for name in rows[0]]
    path.write_bytes(to_ecsv(TextTable(columns, rows)))


def make_check(folder: Path, name: str, verdict: str, **origin) -> None:
    """One check with its answer, table and figure."""
    (folder / name).mkdir(parents=True)
    answer = {
        "name": name,
        "question": f"Is {name} as it should be?",
        "verdict": verdict,
        "sentence": f"{name}: 0.12 of 0.10 allowed, +- 0.01 at S/N >= 100; 3 of 25 not decided, of "
        "which one needs 170 stars",
        "threshold": "at most 0.10",
        "origin": origin,
    }
    (folder / name / "answer.json").write_text(json.dumps(answer))
    _table(folder / name / "table.ecsv")
    _figure(folder / name, "figure")


def make_map(folder: Path, kind: str, **origin) -> None:
    """A map with one table and one figure."""
    folder.mkdir(parents=True)
    record = {
        "kind": kind,
        "origin": origin,
        "sentences": [f"{kind}: 20.4 % of the stars are unlike", "More of it."],
        "tables": {"comparison": {"title": f"Numbers of {kind}", "caption": "By S/N."}},
        "figures": {"kinds": {"title": f"Picture of {kind}", "caption": "Shade: stars."}},
    }
    (folder / "map.json").write_text(json.dumps(record))
    _table(folder / "comparison.ecsv")
    _figure(folder, "kinds")


def make_all(folder: Path) -> None:
    """Every result that a page can show, beside predictions in ``folder``."""
    make_check(folder / "checks", "noise", "passed")
    make_check(folder / "checks", "velocity", "failed")
    make_check(folder / "checks", "halo", "undecided")
    make_map(folder / "tsne", "tsne")
    make_map(folder / "galaxy", "galaxy")
    _table(folder / "baselines.ecsv")
    _figure(folder, "baselines")
