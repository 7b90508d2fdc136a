"""Tables and figures of README.md and benchmarks/README.md, made of benchmarks/results.

    python benchmarks/render.py [--results FOLDER] [--readme FILE ...] [--check]
    python benchmarks/render.py --report runs/demo/report     # the picture of README.md

Text between ``<!-- NAME: made by benchmarks/render.py -->`` and ``<!-- end -->`` is replaced;
NAME is one of numbers, flags (of ``distcnn.schema``), speed, training, more, accuracy, recipes,
faint, novelty, tsne, galaxy, rivals, few_labels, coverage, real, simple, clusters (of
``benchmarks/clusters.py``).
Of each kind of result and each hardware the newest by its ``date`` counts (none = the oldest),
the short checks of speed never. The figures are ``inference.svg`` and ``faint.svg``, beside the
results. ``--check`` writes nothing and fails if a document or a figure is not what the results
say; of a figure it compares what is drawn, which the file says.
"""

import argparse
import difflib
import html
import json
import os
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from rendering import faint, maps, novelty
from rendering.coverage import coverage
from rendering.figure import drawn, figure_of
from rendering.rivals import rivals
from rendering.simple import real, simple
from rendering.tables import (
    LISTS,
    accuracy,
    clusters,
    few_labels,
    flags,
    listed,
    numbers,
    recipes,
    speed,
    training,
)

Result = dict[str, Any]
Results = dict[str, list[Result]]
ROOT = Path(__file__).parents[1]
MARK = re.compile(
    r"(<!-- (\w+): made by benchmarks/render\.py -->\n)(.*?)(<!-- end -->)", re.DOTALL
)
FIGURE = "inference.svg"
PICTURE = "coverage.svg"
"""The figure of a report that README.md shows, as it is called there and beside the results."""
DOCUMENTS = (
    ROOT / "README.md",
    ROOT / "benchmarks" / "README.md",
    ROOT / "deploy" / "README.md",
)
MORE = tuple(LISTS)
SECTIONS: dict[str, tuple[str, Callable[[Result], str]]] = {
    "speed": ("inference", speed),
    "training": ("training", training),
    "accuracy": ("accuracy", accuracy),
    "recipes": ("accuracy", recipes),
    "few_labels": ("few_labels", few_labels),
    "coverage": ("coverage", coverage),
    "faint": ("faint", faint.faint),
    "rivals": ("rivals", rivals),
    "real": ("real", real),
    "simple": ("simple", simple),
    "novelty": ("novelty", novelty.novelty),
    "tsne": ("tsne", maps.tsne),
    "galaxy": ("galaxy", maps.galaxy),
}


def newest(folder: Path) -> Results:
    """Results by kind, in the order of their hardware.

    Raises
    ------
    SystemExit : of two results nothing says which is the newer.
    """
    found: dict[tuple[str, str], dict[str, list[Result]]] = {}
    for path in sorted(folder.glob("*-*.json")):
        kind = path.name.split("-")[0]
        if kind in {*MORE, *(kind for kind, _ in SECTIONS.values())} and "-short-" not in path.name:
            result = json.loads(path.read_text(encoding="utf-8"))
            dates = found.setdefault((kind, result["hardware"]), {})
            dates.setdefault(result.get("date", ""), []).append(result)
    results: Results = {}
    for (kind, hardware), dates in sorted(found.items()):
        last = dates[max(dates)]
        if len(last) > 1:
            raise SystemExit(
                f"{len(last)} newest results of {kind} on {hardware}; remove all but one"
            )
        results.setdefault(kind, []).append(last[0])
    kits = (path.read_text(encoding="utf-8") for path in sorted(folder.glob("clusters-*.json")))
    results["clusters"] = [json.loads(text) for text in kits]
    return results


def section(name: str, results: Results, figure: str) -> str:
    """Text of a section; ``figure``: path of the figure as README names it.

    Raises
    ------
    SystemExit : there is no such section.
    """
    if name == "numbers":
        return numbers(results)
    if name == "flags":
        return flags()
    if name == "more":
        return "\n\n".join(listed(kind)(one) for kind in MORE for one in results.get(kind, []))
    if name == "clusters":
        return clusters(results.get("clusters", []))
    if name not in SECTIONS:
        known = ", ".join([*SECTIONS, "more", "numbers", "flags", "clusters"])
        raise SystemExit(f"section {name}: expected one of {known}")
    kind, table = SECTIONS[name]
    parts = [table(one) for one in results.get(kind, []) if name != "recipes" or one["recipes"]]
    if name == "speed" and parts:
        parts.append(f"![Stars per second of what was run, and measured ceilings]({figure})")
    if name == "faint" and parts:
        place = Path(figure).with_name(faint.FIGURE).as_posix()
        parts.append(f"![Scatter by S/N, and spectra that fade into noise]({place})")
    return "\n\n".join(parts or [f"Not measured yet: `python benchmarks/{kind}.py` does it."])


def rendered(text: str, results: Results, figure: str) -> str:
    """A document with its sections made again.

    Raises
    ------
    SystemExit : a section has no end, or is unknown.
    """
    begun, met = text.count(": made by benchmarks/render.py -->"), len(MARK.findall(text))
    if begun != met or any(" made by " in inside for _, _, inside, _ in MARK.findall(text)):
        raise SystemExit("a section does not end with <!-- end -->")

    def replace(found: re.Match[str]) -> str:
        inside = section(found[2], results, figure)
        return f"{found[1]}\n{inside}\n\n{found[4]}" if inside else found[1] + found[4]

    return MARK.sub(replace, text)


def stale(document: Path, text: str) -> list[str]:
    """What of a document differs from the results, line by line."""
    before = document.read_text(encoding="utf-8").splitlines()
    lines = difflib.unified_diff(before, text.splitlines(), document.name, "results", n=0)
    return [line.rstrip("\n") for line in lines]


def stale_figure(figure: Path, words: str) -> list[str]:
    """Whether the figure was drawn of other numbers than these; no words = there is none."""
    said = html.unescape(figure.read_text(encoding="utf-8")) if figure.exists() else ""
    return [f"{figure.name} shows other numbers"] if words not in said else []


def picture_of(report: Path) -> bytes:
    """The figure that README.md shows, of a report.

    Raises
    ------
    SystemExit : the report does not have it.
    """
    place = report / "figures" / PICTURE
    if not place.exists():
        raise SystemExit(f"{report} has no figure {PICTURE}")
    return place.read_bytes()


def parsed(words: Sequence[str] | None) -> argparse.Namespace:
    """Options of the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--results", type=Path, default=ROOT / "benchmarks" / "results")
    parser.add_argument("--readme", type=Path, nargs="+", default=list(DOCUMENTS))
    parser.add_argument("--report", type=Path, help="take the picture from this report")
    parser.add_argument("--check", action="store_true", help="write nothing, fail on a difference")
    return parser.parse_args(words)


def main(words: Sequence[str] | None = None) -> None:
    """Render, or check."""
    options = parsed(words)
    if options.report:
        (options.results / PICTURE).write_bytes(picture_of(options.report))
        return
    results, figure = newest(options.results), options.results / FIGURE
    shown, fading = results.get("inference", []), results.get("faint", [])
    texts = {}
    for document in options.readme:
        place = Path(os.path.relpath(figure, document.parent)).as_posix()
        texts[document] = rendered(document.read_text(encoding="utf-8"), results, place)
    if options.check:
        differs = [line for document, text in texts.items() for line in stale(document, text)]
        differs += stale_figure(figure, drawn(shown) if shown else "")
        for one in fading[-1:]:
            differs += stale_figure(figure.with_name(faint.FIGURE), faint.drawn(one))
        if differs:
            raise SystemExit("\n".join([*differs, "Out of date: run python benchmarks/render.py"]))
        return
    for document, text in texts.items():
        document.write_text(text, encoding="utf-8")
    if shown:
        figure.write_text(figure_of(shown), encoding="utf-8")
    for one in fading[-1:]:
        figure.with_name(faint.FIGURE).write_text(faint.figure_of(one), encoding="utf-8")


if __name__ == "__main__":
    main()
