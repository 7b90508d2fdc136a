"""Figure of README.md: stars per second of what was run, beside what the machine can do.

A row of two panels per result: all cores together, and one core by itself.
"""

import io
import json
from collections.abc import Iterator, Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from distcnn.style import BLUE, FAINT_INK, GREEN, INK, ORANGE, RED, SKY, grid, style

Result = dict[str, Any]
Bar = tuple[str, float, str]
"""Name, stars per second, colour."""
Panel = tuple[str, list[Bar], dict[str, float]]
"""Title, bars from the top, ceilings."""


def panels_of(result: Result) -> list[Panel]:
    """What is drawn of a result."""
    limits, runs = result["ceilings"], sorted(result["runs"].values(), key=lambda r: r["workers"])
    products, decoding = limits["matmul_stars_per_s"], limits["decode_stars_per_s"]
    most = max(runs[-1]["workers"], 1)
    about = f"{result['hardware']}, {result['members']} members, {result['pixels']} pixels"
    together = [*_plain(result, "naive", "stars_per_second"), *_keras(result)]
    together += [_run(run) for run in runs if run["workers"] > 1]
    alone = [*_plain(result, "naive_per_core", "stars_per_cpu_second"), *_engines(result)]
    alone += [_run(run) for run in runs if run["workers"] <= 1]
    times = f" x {most}" if most > 1 else ""
    return [
        (
            f"All {result['cores']} cores: {about}",
            together,
            {f"float32 products{times}": products * most, f"decoding{times}": decoding * most},
        ),
        ("One core", alone, {"float32 products": products, "decoding": decoding}),
    ]


def _plain(result: Result, name: str, key: str) -> Iterator[Bar]:
    found = result[name]
    threads = f"{found['threads']} thread{'s'[: found['threads'] > 1]}"
    yield f"plain loop, {threads}", found[key], FAINT_INK


def _keras(result: Result) -> Iterator[Bar]:
    if keras := result.get("keras"):
        yield "Keras as it comes", keras["as_it_comes"], ORANGE
        yield f"Keras, batches of {keras['batch']:,}", keras["stars_per_second"], ORANGE


def _engines(result: Result) -> Iterator[Bar]:
    for trial in result["trials"]:
        if trial["stars_per_second"]:
            used = " (used)" if trial["candidate"] == result["engine"] else ""
            yield f"network alone: {trial['candidate']}{used}", trial["stars_per_second"], SKY


def _run(run: Result) -> Bar:
    workers = run["workers"]
    name = f"{workers} worker{'s'[: workers > 1]}" if workers else "no Dask"
    return f"end to end, {name}", run["stars_per_second"], BLUE


def drawn(results: Sequence[Result]) -> str:
    """All that the figure says, as text: two figures of the same text are the same."""
    return json.dumps([panel for result in results for panel in panels_of(result)])


def figure_of(results: Sequence[Result]) -> str:
    """The figure as SVG; the same results give the same bytes."""
    panels = [panel for result in results for panel in panels_of(result)]
    rows = [len(bars) + 1.9 for _, bars, _ in panels]
    with style():
        figure = Figure(figsize=(8.2, 0.27 * sum(rows) + 0.3), layout="constrained")
        axes = figure.subplots(len(panels), 1, squeeze=False, height_ratios=rows)[:, 0]
        for one, panel in zip(axes, panels, strict=True):
            _draw(one, *panel)
        axes[-1].set_xlabel("stars per second, whole ensemble")
        buffer = io.StringIO()
        facts = {"Date": None, "Creator": None, "Description": drawn(results)}
        figure.savefig(buffer, format="svg", metadata=facts)
    # Trailing blanks are nothing to an SVG and a nuisance to those who keep it.
    return "\n".join(line.rstrip() for line in buffer.getvalue().splitlines()) + "\n"


def _draw(axes: Axes, title: str, bars: list[Bar], ceilings: dict[str, float]) -> None:
    names, values, colours = zip(*bars, strict=True)
    places = range(len(bars))
    axes.barh(places, values, color=colours, height=0.72)
    longest = max(*values, min(ceilings.values()))
    for place, value in zip(places, values, strict=True):
        axes.text(value + 0.006 * longest, place, f"{value:,.0f}", va="center", size=8.5)
    axes.set_yticks(places, names)
    axes.set_xlim(0, 1.16 * longest)
    # The uppermost row is left to the names of the ceilings.
    axes.set_ylim(len(bars) - 0.4, -1.5)
    axes.set_title(title)
    axes.xaxis.set_major_formatter("{x:,.0f}")
    axes.tick_params(axis="y", length=0)
    grid(axes, "x")
    for (name, value), colour in zip(ceilings.items(), (RED, GREEN), strict=True):
        _ceiling(axes, name, value, colour)


def _ceiling(axes: Axes, name: str, value: float, colour: str) -> None:
    end = axes.get_xlim()[1]
    if value <= end:
        axes.axvline(value, color=colour, lw=1.4, ls=(0, (4, 2)))
        side, place = ("right", value - 0.008 * end) if value > end / 2 else ("left", 1.02 * value)
        axes.text(place, -0.95, f"{name}: {value:,.0f}", ha=side, va="center", size=8.5, color=INK)
    else:
        text = f"{name}: {value:,.0f}, beyond"
        axes.text(0.004 * end, -0.95, text, ha="left", va="center", size=8.5, color=FAINT_INK)
