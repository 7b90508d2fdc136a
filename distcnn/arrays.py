"""Arrays: the one name for a numpy array whose shape stands in the docstring, and its look-up."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
"""A numpy array; docstrings give its shape, unit and type."""


def find_sorted(table: Array, wanted: Array) -> tuple[Array, Array]:
    """Where each wanted value stands in an ascending table, and whether it is there at all.

    Parameters
    ----------
    table : [K], ascending.
    wanted : [N], of the same type.

    Returns
    -------
    place [N], a valid index into ``table`` (of no meaning where nothing was found, all zero if
    the table is empty); found [N], bool.
    """
    if not len(table):
        return np.zeros(len(wanted), np.intp), np.zeros(len(wanted), bool)
    place = np.minimum(np.searchsorted(table, wanted), len(table) - 1)
    return place, np.asarray(table[place] == wanted)
