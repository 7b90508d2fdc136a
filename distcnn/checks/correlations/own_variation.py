"""Own variation: does a label follow its own truth, or the labels that usually go with it?

Labels of stars are correlated: a network may take [Al/Fe] from lines of magnesium. Predicted
labels are regressed on all true labels at once; a label that is measured follows its own (slope
1) and no other (slope 0), whatever their correlation among the stars. Hattori et al. 2024
(arXiv 2404.01269) find such borrowing in published abundances.

Legend: N star, L label.
"""

from collections.abc import Iterator, Sequence

import numpy as np

from distcnn.arrays import Array
from distcnn.checks.base import AnswerRow
from distcnn.checks.correlations.nulls import row_of_test
from distcnn.checks.decision import MIN_STARS

OWN_SLOPE, PAIR = "own slope", "anti-correlated"
MIN_SLOPE = 0.5
"""Least slope on the label's own truth among stars of high S/N."""
MIN_INDEPENDENT, MIN_INDEPENDENT_DEX = 2.0, 0.04
"""A label is judged only if what the others leave of it spreads by so many reference errors, and
by more than analyses of one star differ by (e.g. Jofre et al. 2019, ARA&A 57, 571). [Fe/H] beside
[M/H] mostly does not."""
PAIRS = (("mgfe", "alfe"), ("mg", "al"))
"""Abundances that go together among field stars and against each other in globular clusters
(e.g. Carretta et al. 2009, A&A 505, 139)."""
CORNER_SIGMA = 1.0
"""Stars count as anti-correlated from so many spreads off the middle on, in both abundances."""
MIN_PAIR_STARS = 10
MIN_KNOWN = 0.5
"""Labels that fewer stars have than this share of those of the label in question are not put beside
it: a label of a few stars would leave hardly any to judge the others by."""


def own_slopes(label: Array, reference: Array) -> tuple[Array, Array]:
    """Slopes of predicted labels [N, L] on true labels, in units of spreads: [L, L] and errors.

    Row i: how label i answers to each true label, all others being held.
    """
    scale = reference.std(axis=0)
    truth = (reference - reference.mean(axis=0)) / scale
    design = np.column_stack([truth, np.ones(len(truth))])
    inverse = np.linalg.pinv(design.T @ design)
    fitted = inverse @ design.T @ (label / scale)
    left = label / scale - design @ fitted
    variance = np.square(left).sum(axis=0) / max(len(label) - design.shape[1], 1)
    error = np.sqrt(np.outer(variance, np.diag(inverse)))
    count = reference.shape[1]
    return fitted.T[:, :count], error[:, :count]


def independent_spread(reference: Array) -> Array:
    """Spread [L] of each label that the other labels do not explain, in label units."""
    spread = np.empty(reference.shape[1])
    for number in range(len(spread)):
        others = np.delete(reference, number, axis=1)
        design = np.column_stack([others / others.std(axis=0), np.ones(len(others))])
        fit, *_ = np.linalg.lstsq(design, reference[:, number], rcond=None)
        spread[number] = (reference[:, number] - design @ fit).std()
    return spread


def own_slope_rows(
    names: Sequence[str], label: Array, reference: Array, reference_error: Array
) -> list[AnswerRow]:
    """The slope of each label on its own truth; labels that cannot be told apart are left out.

    Beside labels that many stars have those are left out that few have (``MIN_KNOWN``).
    """
    count = (np.isfinite(label) & np.isfinite(reference)).sum(axis=0)
    rows: list[AnswerRow] = []
    for beside in {tuple(count >= MIN_KNOWN * stars): None for stars in count}:
        these = np.flatnonzero(beside).tolist()
        mine = [names[number] for number in these]
        found = _slope_rows(mine, *(a[:, these] for a in (label, reference, reference_error)))
        asked = {names[n] for n in these if tuple(count >= MIN_KNOWN * count[n]) == beside}
        rows += [row for row in found if row["label"] in asked]
    return rows


def _slope_rows(
    names: Sequence[str], label: Array, reference: Array, reference_error: Array
) -> list[AnswerRow]:
    """Of labels [N, L] that are regressed together, by the stars that have all."""
    good = np.isfinite(label).all(axis=1) & np.isfinite(reference).all(axis=1)
    if not good.any() or (good.sum() >= MIN_STARS and (reference[good].std(axis=0) == 0).any()):
        return []
    if good.sum() < MIN_STARS:
        few = int(good.sum())
        return [row_of_test(OWN_SLOPE, n, few, 0.0, error=0.0, least=MIN_SLOPE) for n in names]
    slope, error = own_slopes(label[good], reference[good])
    spread = independent_spread(reference[good])
    least = np.maximum(
        MIN_INDEPENDENT * np.median(reference_error[good], axis=0), MIN_INDEPENDENT_DEX
    )
    known = spread > least
    stars = int(good.sum())
    return [
        row_of_test(
            OWN_SLOPE,
            name,
            stars,
            float(slope[number, number]),
            error=float(error[number, number]),
            least=MIN_SLOPE,
        )
        for number, name in enumerate(names)
        if known[number]
    ]


def pair_rows(names: Sequence[str], label: Array, reference: Array) -> Iterator[AnswerRow]:
    """Of stars in which a pair of abundances goes apart: the share of the contrast recovered."""
    for low, high in PAIRS:
        if low not in names or high not in names:
            continue
        columns = [list(names).index(low), list(names).index(high)]
        truth, found = reference[:, columns], label[:, columns]
        known = np.isfinite(truth).all(axis=1) & np.isfinite(found).all(axis=1)
        middle, spread = np.median(truth[known], axis=0), truth[known].std(axis=0)
        far = (truth - middle) / spread
        apart = known & (far[:, 0] < -CORNER_SIGMA) & (far[:, 1] > CORNER_SIGMA)
        if apart.sum() < MIN_PAIR_STARS:
            continue
        contrast = np.diff(truth[apart] - middle)[:, 0]
        recovered = np.diff(found[apart] - middle)[:, 0] / contrast.mean()
        error = float(recovered.std(ddof=1) / np.sqrt(apart.sum()))
        stars, value = int(apart.sum()), float(recovered.mean())
        yield row_of_test(PAIR, f"{low} {high}", stars, value, error=error, least=MIN_SLOPE)
