"""Rows of one star in a part: which are kept at first, and what tells spectra apart."""

import hashlib

import numpy as np

from distcnn.arrays import Array
from distcnn.survey import SPECTRUM_KEY, STAR_KEY


def chosen(rule: str, source_id: Array, snr: Array, spectrum_id: Array | None) -> Array:
    """Rows [n] that stand for their stars: one of each, or with ``each`` one of each spectrum.

    Parameters
    ----------
    rule : as ``ingest.repeats``; what is co-added is added to the best. Of equal S/N, and where it
        is unknown, the first counts.
    """
    if rule == "each" and spectrum_id is not None:
        return SPECTRUM_KEY.first_of_each({"source_id": source_id, "spectrum_id": spectrum_id})
    if rule == "first":
        return STAR_KEY.first_of_each({"source_id": source_id})
    order = np.lexsort((-np.nan_to_num(snr, nan=-np.inf), source_id))
    keep = np.zeros(len(source_id), bool)
    keep[order[np.diff(source_id[order], prepend=-1) != 0]] = True
    return keep


def spectrum_ids(flux: Array, error: Array | None) -> Array:
    """Identifiers [n], from 0, of spectra: digests of flux [n, P] and error as files have them.

    A copy of a spectrum, in another file or row, has the same.
    """
    ids = np.empty(len(flux), np.int64)
    for place, row in enumerate(flux):
        digest = hashlib.blake2b(row.tobytes(), digest_size=8)
        digest.update(b"" if error is None else error[place].tobytes())
        ids[place] = int.from_bytes(digest.digest(), "big") >> 1
    return ids
