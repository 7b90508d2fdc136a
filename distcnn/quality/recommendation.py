"""Recommendations: of each label of each star, whether to use it; from the table of the flags.

Every flag says what it means for the labels that it is about and for the others
(``schema.Flag.own`` and ``others``); the worst of the flags of a star counts.
"""

from collections.abc import Mapping

import numpy as np

from distcnn.arrays import Array
from distcnn.schema import Flag


def recommend(flags: Array, concerned: Mapping[Flag, Array], labels: int) -> Array:
    """``schema.Recommendation`` of every label, uint8 [N, L].

    Parameters
    ----------
    flags : [N], as ``schema.Flag``.
    concerned : [N, L] bool per flag: the labels that it is about. A flag that is not among them
        is about all, as are those of older predictions of which it is not known.
    """
    out = np.zeros((len(flags), labels), np.uint8)
    for flag in Flag:
        raised = (flags & np.uint32(flag) != 0)[:, None]
        own = concerned.get(flag, np.True_)
        level = np.where(own, np.uint8(flag.own), np.uint8(flag.others))
        np.maximum(out, np.where(raised, level, np.uint8(0)), out=out)
    return out
