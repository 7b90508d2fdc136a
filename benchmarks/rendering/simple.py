"""Tables of labels against simple methods: on real stars, and on simulated ones by S/N."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from distcnn.schema import LABELS
from distcnn.stats import WITHIN_68, WITHIN_95, coverage_error
from rendering.tables import markdown, origin

Result = dict[str, Any]
INTERVALS = (("within_68", WITHIN_68), ("within_95", WITHIN_95))
TITLES = {
    "ridge": "ridge",
    "boosting": "gradient boosting",
    "gaussian_process": "PCA + Gaussian process",
}


def real(result: Result) -> str:
    """Five-fold hold-out tests on real stars."""
    head = (
        *("", "stars (refused)", "std / 1.48 MAD", "networks alone", "in 68 %, 95 %"),
        *("std over the best simple method", "MAD over the best"),
    )
    lines = [
        (
            f"{row['data']}, {_title(row['label'])}",
            f"{row['stars']:,} ({row['refused']})",
            f"{_with_error(row, 'std')} / {_with_error(row, 'mad')}",
            f"{row['ensemble_std']:.3g} / {row['ensemble_mad']:.3g}",
            ", ".join(_coverage(row, *interval) for interval in INTERVALS),
            *(_ratio(row["against"][f"ratio_{name}"]) for name in ("std", "mad")),
        )
        for row in result["rows"]
    ]
    facts = (result["note"],) if result.get("note") else ()
    return "\n\n".join([origin(result, *facts), markdown(head, lines)])


def simple(result: Result) -> str:
    """Simulated stars by number of labels: ranges over labels and S/N bins."""
    head = ("labels", *(f"{part} over the best simple method" for part in ("std", "MAD")))
    lines = [(f"{count:,}", *_ranges(rows)) for count, rows in _by_count(result["rows"])]
    costs = "; ".join(
        f"{cost['labels']:,} labels, {cost['members']} members: {cost['stacking']:.1f} of "
        f"{cost['whole']:.1f} microseconds per star"
        for cost in result.get("cost", [])
    )
    words = [f"CPU time of stacking in that of the eager ensemble: {costs}."] if costs else []
    facts = (result["note"],) if result.get("note") else ()
    return "\n\n".join([origin(result, *facts), markdown(head, lines), *words])


def _by_count(rows: Sequence[Result]) -> Iterator[tuple[int, list[Result]]]:
    for count in dict.fromkeys(row["labels"] for row in rows):
        yield count, [row for row in rows if row["labels"] == count]


def _ranges(rows: Sequence[Result]) -> Iterator[str]:
    for name in ("std", "mad"):
        found = [row[f"ratio_{name}"] for row in rows]
        ratios = [one["ratio"] for one in found]
        counts = {
            word: sum(one["verdict"] == word for one in found)
            for word in ("better", "tie", "worse")
        }
        words = ", ".join(f"{count} {word}" for word, count in counts.items())
        yield f"{min(ratios):.2f}-{max(ratios):.2f}: {words}"


def _ratio(found: Mapping[str, Any]) -> str:
    interval = f"{found['low']:.2f}-{found['high']:.2f}"
    return f"{found['ratio']:.2f} ({interval}), {TITLES[found['best']]}: {found['verdict']}"


def _with_error(row: Mapping[str, Any], key: str) -> str:
    error = row.get(f"{key}_error")
    return f"{row[key]:.3g}" + (f" +- {error:.2g}" if error is not None else "")


def _coverage(row: Mapping[str, Any], name: str, expected: float) -> str:
    """A share, and what chance may move it by; older records have neither that nor the other."""
    if "calibration" not in row:
        return f"{row[name]:.2f}" if name in row else "?"
    chance = coverage_error(expected, row["stars"], row["calibration"])
    return f"{row[name]:.3f} +- {chance:.3f}"


def _title(name: str) -> str:
    unit = LABELS[name].unit
    return LABELS[name].symbol + (f" [{unit}]" if unit == "K" else "")
