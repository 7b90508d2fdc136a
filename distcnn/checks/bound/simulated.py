"""Bound of a simulated survey: of the simulation that made it, which knows the population.

It knows the population's covariance alone. Where the population is far from Gaussian, as gravities
are, an estimator that knows more may scatter by less.

Legend: N star, L label.
"""

import numpy as np

from distcnn import hashing
from distcnn.arrays import Array
from distcnn.checks.inputs import CheckInputs
from distcnn.checks.stars import StarTable
from distcnn.evaluation.references import read_truth
from distcnn.schema import DEFAULT_LABELS
from distcnn.simulate import StarTruth, cramer_rao_bound, read_settings

BOUND_STARS = 800
"""Stars of which the bound is computed, of all S/N: one takes 16 ms."""


def simulated_bounds(inputs: CheckInputs, stars: StarTable) -> Array | None:
    """Least standard errors [N, L] of spectrum, XP, magnitudes and parallax together.

    NaN for labels that the simulation does not draw by themselves, and for all but ``BOUND_STARS``
    stars. None where the survey is not a simulated one, or what it was made with is not known.
    """
    settings = None if inputs.truth is None else read_settings(inputs.truth)
    if inputs.truth is None or settings is None:
        return None
    columns = (*DEFAULT_LABELS, *StarTruth.COLUMNS)
    truth = read_truth(inputs.truth, columns)
    if not set(columns) <= set(truth) or not set(inputs.labels) & set(DEFAULT_LABELS):
        return None
    clean = truth[truth["trouble"].fillna("") == ""]
    population = np.cov(clean[list(DEFAULT_LABELS)].to_numpy(float).T)
    some = np.argsort(hashing.uniform(stars.source_id), kind="stable")[:BOUND_STARS]
    rows = truth.loc[stars.source_id[some]]
    known = StarTruth.of({name: rows[name] for name in columns})
    found = cramer_rao_bound(known, settings, population=population)
    bound = np.full((len(stars), len(inputs.labels)), np.nan)
    for number, name in enumerate(inputs.labels):
        if name in DEFAULT_LABELS:
            bound[some, number] = found[:, DEFAULT_LABELS.index(name)]
    return bound
