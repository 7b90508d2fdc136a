"""Weights of the methods of a stacked label, from what each says of stars it has not seen.

Legend: N star, J method, T knot in log S/N, L label.
"""

from dataclasses import dataclass, replace

import numpy as np
from scipy.optimize import nnls

from distcnn.arrays import Array
from distcnn.stats import robust_std

STARS_PER_KNOT = 400
MAX_KNOTS = 4
ITERATIONS = 8
HUBER_SIGMA = 3.0
"""Residuals beyond count by their size, not its square (Huber 1964)."""
SUM_PENALTY = 100.0
"""Holds the sum of weights at one."""
EARNED = 0.01
"""Part of the scatter of a label that a method must take off it to be worth its time."""
OUTLIER_SIGMA = 6.0
"""Residuals count at most this much where methods are compared, in units of their median."""
EVEN_STARS = 20.0
"""Stars' worth of belief that all methods are as good as each other, and all knots alike."""


@dataclass(frozen=True)
class JudgedLabel:
    """What the weights of one label are fitted to: ``estimates`` [N,J], ``target`` [N], ``shares``
    [N,T] of the knots, ``fold`` [N], ``usable`` [N].

    Out of fold an ensemble has fewer members than later. Its weight comes out too small for that,
    which costs little, for near their best weights change the scatter to second order only; taking
    the difference out would trust an estimate of it that heavy tails spoil.
    """

    estimates: Array
    target: Array
    shares: Array
    fold: Array
    usable: Array

    @property
    def known(self) -> Array:
        """[N] bool: usable, with a reference and an estimate by every method."""
        return np.asarray(
            self.usable & np.isfinite(self.target) & np.isfinite(self.estimates).all(axis=1)
        )

    def take(self, rows: Array) -> "JudgedLabel":
        return JudgedLabel(*(values[rows] for values in vars(self).values()))


@dataclass(frozen=True)
class Judged:
    """The same of all labels: [N,L,J], [N,L], and knots [T]."""

    estimates: Array
    target: Array
    shares: Array
    knots: Array
    fold: Array
    usable: Array

    def of_label(self, column: int) -> JudgedLabel:
        return JudgedLabel(
            self.estimates[:, column],
            self.target[:, column],
            self.shares,
            self.fold,
            self.usable,
        )

    def only(self, methods: list[int]) -> "Judged":
        """The same of some methods."""
        return replace(self, estimates=self.estimates[..., methods])

    @property
    def labels(self) -> range:
        """Columns of the labels."""
        return range(self.target.shape[1])


def earning_methods(judged: Judged, least: int) -> list[int]:
    """Positions of the methods that stay, the first one always.

    One by one the method is left out that is missed least, as long as no label misses all that
    are left out by more than ``EARNED``. ``least``: see ``fit_weights``.
    """
    chosen = list(range(judged.estimates.shape[2]))
    whole = _scatter(judged, least)
    while len(chosen) > 1:
        fewer = {one: [m for m in chosen if m != one] for one in chosen[1:]}
        loss = {
            one: float(np.nanmax(_scatter(judged.only(rest), least) / whole)) - 1
            for one, rest in fewer.items()
        }
        missed_least = min(loss, key=loss.__getitem__)
        if not loss[missed_least] <= EARNED:
            break
        chosen = fewer[missed_least]
    return chosen


def _scatter(judged: Judged, least: int) -> Array:
    """[L] of the stacked label; residuals far out count as little more than others."""
    found = np.full(len(judged.labels), np.nan)
    for column in judged.labels:
        stars = judged.of_label(column)
        stars = stars.take(np.flatnonzero(stars.known))
        if len(stars.target) >= least:
            weights = stars.shares @ fit_weights(stars, least)
            residual = np.abs((stars.estimates * weights).sum(axis=1) - stars.target)
            most = OUTLIER_SIGMA * np.median(residual)
            found[column] = np.sqrt(np.square(np.minimum(residual, most)).mean())
    return found


def place_knots(log_snr: Array) -> Array:
    """Knots [T] at quantiles of log10 S/N [N]; one, of no meaning, where it is not known."""
    good = log_snr[np.isfinite(log_snr)]
    count = int(np.clip(len(good) // STARS_PER_KNOT, 1, MAX_KNOTS))
    if count == 1:
        return np.zeros(1)
    knots = np.quantile(good, np.linspace(0.05, 0.95, count))
    apart = np.concatenate([[True], np.diff(knots) > 0.02])
    return np.asarray(knots[apart]) if apart.sum() > 1 else np.zeros(1)


def hats(place: Array, knots: Array) -> Array:
    """[N,T] shares of the knots, as ``model.stacking.hats``; of the first where it is unknown."""
    if len(knots) == 1:
        return np.ones((len(place), 1))
    known = np.where(np.isfinite(place), place, knots[0])
    return np.stack([np.interp(known, knots, row) for row in np.eye(len(knots))], axis=1)


def fit_weights(stars: JudgedLabel, least: int) -> Array:
    """[T,J] weights of one label: none below zero, sum one at every knot.

    They make the residual least in the sense of Huber: near squares for most stars, near
    absolute values for those far out, so that neither few wild stars nor the core alone decide.
    With fewer stars than ``least`` all is left to the first method.
    """
    methods, knots = stars.estimates.shape[1], stars.shares.shape[1]
    known = stars.take(np.flatnonzero(stars.known))
    if len(known.target) < least:
        return np.tile(np.eye(methods)[0], (knots, 1))
    residuals = known.estimates - known.target[:, None]
    weights = np.full((knots, methods), 1.0 / methods)
    for _ in range(ITERATIONS):
        residual = (residuals * (known.shares @ weights)).sum(axis=1)
        sigma = max(robust_std(residual), 1e-12)
        trust = np.minimum(1.0, HUBER_SIGMA * sigma / np.maximum(np.abs(residual), 1e-12))
        weights = _solve(residuals / sigma, trust, known.shares)
    return weights


def cross_fitted(stars: JudgedLabel, least: int) -> tuple[Array, Array]:
    """Label [N] and share of the first method in it [N], by the weights of the other folds."""
    label, share = stars.estimates[:, 0].copy(), np.ones(len(stars.target))
    for name in np.unique(stars.fold[stars.usable]):
        mine = stars.usable & (stars.fold == name)
        weights = fit_weights(stars.take(np.flatnonzero(stars.fold != name)), least)
        here = stars.shares[mine] @ weights
        label[mine] = (np.nan_to_num(stars.estimates[mine]) * here).sum(axis=1)
        share[mine] = here[:, 0]
    return label, share


def _solve(residuals: Array, trust: Array, shares: Array) -> Array:
    (stars, methods), knots = residuals.shape, shares.shape[1]
    root = np.sqrt(trust)[:, None]
    rows = (shares[:, :, None] * residuals[:, None, :]).reshape(stars, -1) * root
    squares = rows.T @ rows
    # Only the squares matter: the same least squares in as many rows as there are weights.
    values, vectors = np.linalg.eigh(squares)
    short = np.sqrt(np.maximum(values, 0))[:, None] * vectors.T
    size = np.sqrt(stars)
    sums = np.kron(np.eye(knots), np.ones(methods)) * SUM_PENALTY * size
    even = np.eye(knots * methods) * np.sqrt(EVEN_STARS)
    smooth = np.kron(np.diff(np.eye(knots), axis=0), np.eye(methods)) * np.sqrt(EVEN_STARS)
    left = np.concatenate([short, sums, even, smooth])
    right = np.concatenate(
        [
            np.zeros(len(short)),
            np.full(knots, SUM_PENALTY * size),
            np.full(knots * methods, np.sqrt(EVEN_STARS) / methods),
            np.zeros(len(smooth)),
        ]
    )
    found = nnls(left, right)[0].reshape(knots, methods)
    return np.asarray(found / found.sum(axis=1, keepdims=True))
