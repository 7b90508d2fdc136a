"""What each figure shows, in words and numbers: the text for who cannot see it."""

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from distcnn.labels import label_info
from distcnn.report.blocks import label_text
from distcnn.report.data import ReportData
from distcnn.report.text.table import label_value

_All = Mapping[str, Any]
EVERY_STAR_FLAGGED = "Every star has a flag; the flags are counted in a section of their own."


def nothing(data: ReportData) -> str:
    """The title says it all."""
    return ""


def completeness(data: ReportData) -> str:
    """Fractions over all stars, and the bin with the least."""
    rows = data.numbers.completeness["rows"]
    parts = [(row["unflagged"] / max(row["stars"], 1), row) for row in rows if row["stars"]]
    if not parts:
        return ""
    least, worst = min(parts, key=lambda part: part[0])
    total = rows[0]
    return (
        f"{_percent(total['labels'] / max(total['stars'], 1))} of the stars have labels and "
        f"{_percent(total['unflagged'] / max(total['stars'], 1))} have labels without any flag; "
        f"the least complete bin is {worst['by']} {worst['bin']} with {_percent(least)}."
    )


def sky(data: ReportData) -> str:
    """Range of the fraction over the cells."""
    counts = data.numbers.completeness["sky"]
    if counts is None:
        return ""
    stars, good = (np.array(counts[key], float) for key in ("stars", "unflagged"))
    part = good[stars > 0] / stars[stars > 0]
    return (
        f"Stars lie in {int((stars > 0).sum())} of {stars.size} cells of equal area; the fraction "
        f"without any flag is between {_percent(part.min())} and {_percent(part.max())}, with a "
        f"median of {_percent(float(np.median(part)))}."
    )


def kiel(data: ReportData) -> str:
    """Where the stars lie."""
    texts = [_span(data, name) for name in ("teff", "logg") if name in data.names]
    if not (data.sample.flags == 0).any():
        return EVERY_STAR_FLAGGED
    return f"Stars without any flag have {' and '.join(texts)} (middle 98 %)." if texts else ""


def alpha(data: ReportData) -> str:
    """Where the stars lie."""
    named = [name for name in data.names if name in ("mh", "feh", "alpham")]
    texts = [_span(data, name) for name in named]
    if not (data.sample.flags == 0).any():
        return EVERY_STAR_FLAGGED
    return f"Stars without any flag have {', '.join(texts)} (middle 98 %)." if texts else ""


def _span(data: ReportData, name: str) -> str:
    column = data.names.index(name)
    values = data.sample.label[data.sample.flags == 0, column]
    values = values[np.isfinite(values)]
    if not len(values):
        return f"no {label_text(name)}"
    low, high = np.quantile(values, [0.01, 0.99])
    unit = label_info(name).unit
    digits = 0 if unit == "K" else 2
    return f"{label_text(name)} from {low:.{digits}f} to {high:.{digits}f} {unit}".strip()


def residuals(data: ReportData) -> str:
    """Bias and scatter over all S/N."""
    return _each(
        _own_accuracy(data),
        lambda row: f"bias {_value(row, 'bias')}, standard deviation {_value(row, 'std')}",
    )


def precision(data: ReportData) -> str:
    """Scatter in the lowest and the highest bin."""
    rows = [row for row in data.numbers.accuracy if row["snr"] != "all"]
    own = [row for row in rows if row["method"] == data.numbers.accuracy[0]["method"]]
    texts = []
    for name in data.names:
        mine = [row for row in own if row["label"] == name]
        if mine:
            first, last = mine[0], mine[-1]
            texts.append(
                f"{label_text(name)} {_value(first, 'mad')} at S/N {first['snr']} and "
                f"{_value(last, 'mad')} at {last['snr']}"
            )
    return f"Robust scatter of the network: {'; '.join(texts)}." if texts else ""


def coverage(data: ReportData) -> str:
    """Coverage over all S/N, and the worst bin."""
    rows = [row for row in data.numbers.coverage if row["stars"]]
    return _coverage(rows, lambda row: f"S/N {row['snr']}")


def cells(data: ReportData) -> str:
    """Coverage of the population that is furthest off."""
    return _coverage(data.numbers.cells, lambda row: str(row["cell"]))


def ranges(data: ReportData) -> str:
    """Coverage of the range that is furthest off."""
    return _coverage(
        data.numbers.ranges, lambda row: f"{_value(row, 'low')} to {_value(row, 'high')}"
    )


def _coverage(rows: Iterable[Any], where: Any) -> str:
    known = [row for row in rows if "within_68" in row]
    if not known:
        return ""
    worst = max(known, key=lambda row: abs(row["within_68"] - 0.6827) * row["stars"] ** 0.5)
    parts = [row["within_68"] for row in known]
    return (
        f"Of the stars {_percent(min(parts))} to {_percent(max(parts))} lie within one quoted "
        f"error, where 68.3 % are promised; furthest off for its number of stars is "
        f"{label_text(worst['label'])} at {where(worst)}: {_percent(worst['within_68'])} of "
        f"{worst['stars']:,}."
    )


def pulls(data: ReportData) -> str:
    """Widths of the pulls."""
    rows = [row for row in data.numbers.coverage if row["snr"] == "all" and row["stars"]]
    return _each(rows, lambda row: f"width {row['pull_mad']:.2f}", "Pulls, which should have 1")


def attenuation(data: ReportData) -> str:
    """Slopes over all S/N."""
    rows = data.numbers.attenuation or data.numbers.package["attenuation"]
    chosen = [row for row in rows if row["snr"] == "all" and "slope" in row]
    return _each(chosen, lambda row: f"slope {row['slope']:.3f}")


def poor(data: ReportData) -> str:
    """The largest bias."""
    rows = [row for row in data.numbers.poor if "bias" in row]
    if not rows:
        return ""
    worst = max(rows, key=lambda row: abs(row["bias"]))
    return (
        f"The largest mean residual is {worst['bias']:+.3f} dex, of {label_text(worst['label'])} "
        f"between {worst['low']:g} and {worst['high']:g} at S/N {worst['snr']}."
    )


def ensemble(data: ReportData) -> str:
    """Gain from one member to all."""
    rows = [row for row in data.numbers.package["ensemble_size"] if row["snr"] == "all"]
    texts = []
    for name in data.names:
        mine = sorted((row for row in rows if row["label"] == name), key=lambda r: r["members"])
        if len(mine) > 1:
            gain = 1 - mine[-1]["std"] / mine[0]["std"] if mine[0]["std"] else 0.0
            texts.append(f"{label_text(name)} {_percent(gain)}")
    most = max((row["members"] for row in rows), default=0)
    return f"Scatter falls from one member to {most} by: {', '.join(texts)}." if texts else ""


def novelty(data: ReportData) -> str:
    """Fraction above the limit."""
    values = data.sample.novelty[np.isfinite(data.sample.novelty)]
    if not len(values):
        return ""
    return f"{_percent(float((values > 1).mean()))} of the spectra are more novel than the limit."


def spectra(data: ReportData) -> str:
    """How many are shown."""
    return "Examples of normalised spectra with their errors and masked pixels."


def learning(data: ReportData) -> str:
    """Spread of the members' best losses."""
    best = [min(pair[1] for pair in one["epochs"]) for one in data.curves if one["epochs"]]
    if not best:
        return ""
    return (
        f"{len(best)} members reached validation losses between {min(best):.3f} and "
        f"{max(best):.3f} nat per label."
    )


def speed(data: ReportData) -> str:
    """The rate of one worker."""
    rate = data.numbers.throughput["stars_per_second"]
    return f"One worker computed {rate:,.0f} stars per second." if rate else ""


def _own_accuracy(data: ReportData) -> list[Any]:
    rows = [row for row in data.numbers.accuracy if row["snr"] == "all"]
    return [row for row in rows if row["method"] == data.numbers.accuracy[0]["method"]]


def _each(rows: Iterable[Any], text: Any, lead: str = "Over all S/N") -> str:
    told = [f"{label_text(row['label'])} {text(row)}" for row in rows]
    return f"{lead}: {'; '.join(told)}." if told else ""


def _value(row: _All, key: str) -> str:
    name = str(row["label"])
    return f"{label_value(row[key], name)} {label_info(name).unit}".strip()


def _percent(part: float) -> str:
    return f"{100 * part:.1f} %"
