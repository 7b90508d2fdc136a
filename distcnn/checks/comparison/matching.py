"""Matching: rows of a catalogue and stars of a survey, by identifier or by place on the sky."""

import numpy as np
from scipy.spatial import KDTree

from distcnn.arrays import Array

ARCSEC_PER_RADIAN = 206264.806


def match_identifiers(wanted: Array, known: Array) -> tuple[Array, Array]:
    """Pairs of rows with the same identifier: places in ``wanted`` [N] and ``known`` [K].

    Of identifiers that ``known`` has several times the first row counts; ``wanted`` keeps all.
    """
    order = np.argsort(known, kind="stable")
    first = order[np.concatenate([[True], np.diff(known[order]) != 0])] if len(known) else order
    table = known[first]
    if not len(table):
        return np.empty(0, int), np.empty(0, int)
    place = np.minimum(np.searchsorted(table, wanted), len(table) - 1)
    found = np.flatnonzero(table[place] == wanted)
    return found, first[place[found]]


def match_sky(
    ra: Array, dec: Array, catalogue_ra: Array, catalogue_dec: Array, radius_arcsec: float
) -> tuple[Array, Array, Array]:
    """Pairs of rows that are each other's nearest within a radius.

    Parameters
    ----------
    ra, dec : [N] of the stars, deg. ``catalogue_ra, catalogue_dec``: [K] of the catalogue, deg.

    Returns
    -------
    Places in the stars and in the catalogue, and separations [arcsec].
    """
    stars, rows = _vectors(ra, dec), _vectors(catalogue_ra, catalogue_dec)
    known_stars = np.flatnonzero(np.isfinite(stars).all(axis=1))
    known_rows = np.flatnonzero(np.isfinite(rows).all(axis=1))
    if not len(known_stars) or not len(known_rows):
        return np.empty(0, int), np.empty(0, int), np.empty(0)
    # A chord, not an arc: for seconds of arc they are the same to 1e-11.
    reach = 2 * np.sin(radius_arcsec / ARCSEC_PER_RADIAN / 2)
    tree_stars, tree_rows = KDTree(stars[known_stars]), KDTree(rows[known_rows])
    found = tree_rows.query(stars[known_stars], distance_upper_bound=reach)
    distance, row = np.asarray(found[0]), np.asarray(found[1])
    near = np.flatnonzero(np.isfinite(distance))
    back = np.asarray(tree_stars.query(rows[known_rows[row[near]]])[1])
    mutual = near[back == near]
    arcsec = 2 * np.arcsin(distance[mutual] / 2) * ARCSEC_PER_RADIAN
    return known_stars[mutual], known_rows[row[mutual]], arcsec


def _vectors(ra: Array, dec: Array) -> Array:
    """Unit vectors [N, 3] of places on the sky, deg."""
    longitude, latitude = np.deg2rad(np.asarray(ra, float)), np.deg2rad(np.asarray(dec, float))
    flat = np.cos(latitude)
    return np.stack([flat * np.cos(longitude), flat * np.sin(longitude), np.sin(latitude)], axis=1)
