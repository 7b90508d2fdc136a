"""Formatting: numbers, sizes, times, settings and cures as people read them everywhere."""

from collections.abc import Iterator, Mapping, Sequence
from difflib import get_close_matches
from typing import Any


def format_bytes(count: float) -> str:
    """``999 B``, ``1.5 kB``, ``2.29 GB``; units are powers of 1,000."""
    for unit in ("B", "kB", "MB", "GB"):
        if count < 1000:
            return f"{count:.3g} {unit}"
        count /= 1000
    return f"{count:.3g} TB"


def format_duration(seconds: float) -> str:
    """``8.4 s``, ``51 s``, ``3 min 20 s``, ``2 h 05 min``, ``3.5 days``."""
    if seconds < 10:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    if whole < 2 * 86400:
        return f"{whole // 3600} h {whole % 3600 // 60:02d} min"
    return f"{seconds / 86400:,.1f} days"


def format_number(value: object) -> str:
    """Thousands apart; three digits of fractions below a hundred; anything else as text."""
    if isinstance(value, float):
        return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"
    return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else str(value)


def dotted(tree: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """The leaves of nested mappings with their path: ``("train.split.seed", 0)``."""
    for key, value in tree.items():
        name = f"{prefix}.{key}" if prefix else str(key)
        if isinstance(value, Mapping):
            yield from dotted(value, name)
        else:
            yield name, value


def did_you_mean(name: str, known: Sequence[str], otherwise: str = "") -> str:
    """The cure for a name that is not known: the nearest one, or else another sentence."""
    near = get_close_matches(name, known, n=1)
    return f"Did you mean {near[0]!r}?" if near else otherwise
