"""Verdicts of accuracy.py: each target, whether it is reached, and the numbers."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from lib.judge import NARROW

Row = Mapping[str, Any]
Rows = Sequence[Row]
LOWEST, LARGEST = -2.0, 0.1  # true [M/H] down to which the debiased one is to be that good


def verdicts(rows: Rows, poor: Rows, recipes: Mapping[str, Rows]) -> list[dict[str, Any]]:
    """``target``, ``reached`` (None = only reported) and ``numbers`` of each."""
    return [
        {"target": target, "reached": reached, "numbers": numbers}
        for target, reached, numbers in (
            *_scatter(rows),
            *_coverage(rows),
            *_attenuation(rows),
            *_metal_poor(poor),
            _compared(recipes),
        )
    ]


Verdict = tuple[str, bool | None, str]


def _scatter(rows: Rows) -> Iterator[Verdict]:
    kinds = {"ratio": "bound", "ratio_population": "bound that knows the population"}
    for snr, most in (("15-25", 1.5), (">50", 2.0)):
        for key, text in kinds.items():
            yield _each(
                f"std at most {most:g} times the {text}, S/N {snr}",
                [row for row in rows if row["snr"] == snr],
                key,
                lambda value, most=most: value <= most,
            )


def _coverage(rows: Rows) -> Iterator[Verdict]:
    everyone = [row for row in rows if row["snr"] == "all"]
    narrow = [row for row in rows if row["snr"] in NARROW]
    for key, name in (("within", "label_error"), ("interval", "the asymmetric interval")):
        yield _each(f"68 % by {name}: 0.68 +- 0.02", everyone, f"{key}_68", _near(0.68, 0.02))
        yield _each(
            f"68 % by {name}: 0.68 +- 0.04 in every bin", narrow, f"{key}_68", _near(0.68, 0.04)
        )
        for text, chosen in (("", everyone), (" in every bin", narrow)):
            target = f"95 % by {name}: 0.93-0.97{text}"
            yield _each(target, chosen, f"{key}_95", _near(0.95, 0.02))


def _attenuation(rows: Rows) -> Iterator[Verdict]:
    everyone = [row for row in rows if row["snr"] == "all"]
    narrow = [row for row in rows if row["snr"] in NARROW]
    for text, chosen in (("", everyone), (" in every bin", narrow)):
        yield _each(
            f"slope at least 0.95 of what least squares gives{text}",
            chosen,
            "slope_over_expected",
            lambda value: value >= 0.95,
        )
        target = f"slope of the debiased label 1 +- 0.03{text}"
        yield _each(target, chosen, "debiased_slope", _near(1.0, 0.03))
    target = "price of debiasing, its std over the label's (all, then by bin)"
    yield target, None, _numbers(everyone + narrow, "debiased_price")


def _metal_poor(poor: Rows) -> Iterator[Verdict]:
    for snr in (">25", "15-25"):
        chosen = [row for row in poor if row["snr"] == snr and row["stars"]]
        numbers = ", ".join(
            f"{row['mh'][0]:g}..{row['mh'][1]:g}: {row['debiased_bias']:+.3f} "
            f"({row['label_bias']:+.3f}, {row['stars']} stars)"
            for row in chosen
        )
        asked = [row["debiased_bias"] for row in chosen if row["mh"][0] >= LOWEST]
        good = bool(asked) and all(abs(value) < LARGEST for value in asked)
        text = f"bias of debiased (plain) [M/H], S/N {snr}"
        down = f" below {LARGEST:g} dex down to {LOWEST:g}" if snr == ">25" else ""
        yield text + down, good if down else None, numbers or "no such stars"


def _compared(recipes: Mapping[str, Rows]) -> Verdict:
    text = ", ".join(recipes) if recipes else "left out"
    return "published recipes on the same split and stars", bool(recipes), text


def _each(target: str, rows: Rows, key: str, good: Callable[[float], bool]) -> Verdict:
    values = [row[key] for row in rows]
    return target, bool(values) and all(good(value) for value in values), _numbers(rows, key, good)


def _numbers(rows: Rows, key: str, good: Callable[[float], bool] = np.isfinite) -> str:
    """Numbers by label, in the order of the bins; those that miss the target are marked."""
    found: dict[str, list[str]] = {}
    for row in rows:
        mark = "" if good(row[key]) else "!"
        found.setdefault(row["label"], []).append(f"{row[key]:.3f}{mark}")
    return ", ".join(f"{label} {' '.join(values)}" for label, values in found.items())


def _near(centre: float, width: float) -> Callable[[float], bool]:
    return lambda value: abs(value - centre) <= width + 1e-9
