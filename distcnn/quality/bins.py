"""Bins of S/N and their names."""

from collections.abc import Sequence
from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]


def snr_bins(snr: Array, edges: Sequence[float] | Array) -> Array:
    """[N] number of the S/N bin: 0 below the first edge, len(edges) above the last, -1 unknown."""
    bins = np.searchsorted(np.asarray(edges, float), snr, side="right")
    return np.where(np.isfinite(snr) & (snr > 0), bins, -1)


def bin_name(number: int, edges: Sequence[float] | Array) -> str:
    """``"15-25"``, ``"< 15"``, ``">= 100"``, or ``"unknown"``."""
    if number < 0:
        return "unknown"
    if number == 0:
        return f"< {edges[0]:g}"
    if number == len(edges):
        return f">= {edges[-1]:g}"
    return f"{edges[number - 1]:g}-{edges[number]:g}"


def snr_groups(snr: Array, edges: Sequence[float] | Array) -> list[tuple[str, Array]]:
    """Name and mask [N]: all stars, then every bin that has stars, ``unknown`` first of them."""
    bins = snr_bins(snr, edges)
    found = [(bin_name(int(number), edges), bins == number) for number in np.unique(bins)]
    return [("all", np.ones(len(snr), bool)), *found]
