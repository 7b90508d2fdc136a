"""Out of fold: what members say of labelled stars that none of them was trained on.

A star of fold f has its label from the m members that hold out f, of the M of the ensemble. A new
star has it from all M, none of which saw it either; so the two differ in the number of members
alone, and that is accounted for:

* ``scatter``, between members, is estimated from all members whose weights were not fitted to the
  star: those of its fold, and those that it helped to stop. Of so few it is noisy, therefore it is
  shrunk to what is usual for stars of such noise and S/N (a prior of ``PRIOR_DEGREES`` degrees of
  freedom):

      V = (d s^2 + 4 u) / (d + 4),   d = members - 1,   ln u = a + b ln noise^2 + c ln S/N

  with a, b, c of a gamma regression (McCullagh & Nelder 1989, Generalized Linear Models, 8) of
  s^2, cut where few stars on which members go apart would decide,
  and brought to the mixture of seeds and folds that the whole ensemble has: of n members, n_f of
  them of each fold, s^2 is on average V_s + (1 - sum n_f (n_f - 1) / n (n - 1)) V_f, with V_s
  between members of one fold (seeds) and V_f between folds (training stars).

* ``fewer_members_error``: what the mean of m errs more than that of M would,

      V_s (1/m - 1/M) + V_f (1 - 1/folds)

  Residuals of stars out of fold are wider by it, and calibration takes it out of them like the
  error of a reference. Of few stars it is not known well, and only that part of its square is
  taken that is: all but its relative error, for what is left makes errors wider, not false.

Legend: N star, L label, M member.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields

import numpy as np
from scipy import stats

from distcnn.arrays import Array
from distcnn.config import SplitConfig
from distcnn.model import Network, StarInputs, predict_each
from distcnn.survey.split import Split, assign_fold, assign_split

PRIOR_DEGREES = 4.0
"""Degrees of freedom of what is usual against a star's own scatter between members."""
_MOST_USUAL = 0.95  # quantile of scatter^2 over the usual beyond which a star says no more of it
_SLOPE_SPREAD = 1.0  # of b around 1 and c around 0, where stars are too few to show their own
_REGRESSION_STEPS = 12


@dataclass(frozen=True)
class OutOfFold:
    """Predictions of N stars, label units.

    Attributes
    ----------
    fold, members : [N] the star's fold; how many members hold it out, which gave its label.
    label, noise : [N, L] mean and root mean square learned sigma of these members.
    scatter : [N, L] standard deviation between members of the whole ensemble, as far as it can be
        known.
    fewer_members_error : [N, L] what the label errs more than the whole ensemble's would.
    """

    fold: Array
    members: Array
    label: Array
    noise: Array
    scatter: Array
    fewer_members_error: Array

    def for_quality(self) -> dict[str, Array]:
        """The arrays that ``quality.Quality.fit`` takes."""
        names = ("label", "noise", "scatter", "fewer_members_error", "fold")
        return {name: getattr(self, name) for name in names}

    def take(self, rows: Array) -> "OutOfFold":
        return OutOfFold(*(getattr(self, field.name)[rows] for field in fields(self)))


@dataclass(frozen=True)
class Moments:
    """Sums over members that a star was no training star of.

    Attributes
    ----------
    fold, snr, held, unseen : [N] fold; S/N, NaN = unknown; members that hold it out; these and
        those that it stopped.
    label, noise_square : [N, L] mean label and mean sigma^2 of the members that hold it out.
    held_squares, unseen_squares : [N, L] sums of squared deviations between members.
    """

    fold: Array
    snr: Array
    held: Array
    unseen: Array
    label: Array
    noise_square: Array
    held_squares: Array
    unseen_squares: Array

    @classmethod
    def joined(cls, parts: Iterable["Moments"]) -> "Moments":
        """Of all stars of the parts, of which there is at least one."""
        columns = zip(*(vars(part).values() for part in parts), strict=True)
        return cls(*(np.concatenate(column) for column in columns))


@dataclass(frozen=True)
class CrossFitted:
    """The members of an ensemble, and the fold that each has held out."""

    networks: Sequence[Network]
    folds: list[int]
    split: SplitConfig

    @property
    def _members_per_fold(self) -> list[int]:
        return [self.folds.count(fold) for fold in sorted(set(self.folds))]

    def predict(self, source_id: Array, inputs: StarInputs) -> OutOfFold:
        """Of stars outside the test split."""
        return self.finish([self.moments(source_id, inputs)])

    def moments(self, source_id: Array, inputs: StarInputs) -> Moments:
        """Of some stars; ``finish`` needs those of all to know what is usual."""
        own = assign_fold(source_id, self.split)
        shape = (len(own), int(self.networks[0].labels.centre.shape[0]))
        held, unseen = _Sums(shape), _Sums(shape)
        noise = np.zeros(shape)
        for fold in sorted(set(self.folds)):
            part = assign_split(source_id, self.split, fold)
            rows = np.flatnonzero(np.isin(part, (Split.CALIBRATION, Split.VALIDATION)))
            if not len(rows):
                continue
            members = [
                n for n, own_fold in zip(self.networks, self.folds, strict=True) if own_fold == fold
            ]
            mean, sigma = predict_each(members, inputs.take(rows))
            mine = part[rows] == Split.CALIBRATION
            unseen.add(rows, mean)
            held.add(rows[mine], mean[:, mine])
            noise[rows[mine]] = np.square(sigma[:, mine], dtype=np.float64).mean(axis=0)
        squares = (held.squares, unseen.squares)
        snr = inputs["snr"][:, 0]
        return Moments(own, snr, held.count, unseen.count, held.mean, noise, *squares)

    def finish(self, parts: Sequence[Moments]) -> OutOfFold:
        """The predictions of all stars of the parts, in their order."""
        found, members = Moments.joined(parts), len(self.networks)
        seeds, folds_over_seeds = _seed_variance(found)
        variance = seeds * (1 + folds_over_seeds * _apart(np.array(self._members_per_fold)))
        fewer = np.maximum(1 / found.held - 1 / members, 0.0)[:, None]
        excess = seeds * (fewer + folds_over_seeds * (1 - 1 / self.split.folds))
        excess = excess * _told(found)
        values = (found.label, np.sqrt(found.noise_square), np.sqrt(variance), np.sqrt(excess))
        label, noise, scatter, error = (value.astype(np.float32) for value in values)
        return OutOfFold(found.fold, found.held.astype(np.int16), label, noise, scatter, error)


class _Sums:
    """Count, mean and squared deviations of members' labels, star by star."""

    def __init__(self, shape: tuple[int, int]) -> None:
        self.count = np.zeros(shape[0], np.int64)
        self.mean, self.squares = np.zeros(shape), np.zeros(shape)

    def add(self, rows: Array, label: Array) -> None:
        """Labels [M, n, L] of M more members for n stars (Chan et al. 1983)."""
        members, new = len(label), label.mean(axis=0, dtype=np.float64)
        squares = np.square(label - new).sum(axis=0)
        before = self.count[rows][:, None]
        apart = new - self.mean[rows]
        self.squares[rows] += squares + apart**2 * before * members / (before + members)
        self.mean[rows] += apart * members / (before + members)
        self.count[rows] += members


def _seed_variance(found: Moments) -> tuple[Array, Array]:
    """Variance between members of one fold [N, L]; that between folds in units of it [L].

    Where a fold has one member they cannot be told apart, and need not be: all is of seeds.
    """
    stopped = found.unseen - found.held
    apart = _apart(np.stack([found.held, stopped]))[:, None]
    across, alone = stopped > 0, found.held > 1
    within = found.held_squares / np.maximum(found.held - 1, 1)[:, None]
    whole = found.unseen_squares / np.maximum(found.unseen - 1, 1)[:, None]
    both = across & alone
    folds_over_seeds = np.zeros(within.shape[1])
    if both.any():
        growth = whole[both].mean(axis=0) / within[both].mean(axis=0) - 1
        folds_over_seeds = np.maximum(growth / apart[both].mean(), 0.0)
    own = np.where(across[:, None], whole / (1 + folds_over_seeds * apart), within)
    degrees = np.where(across, found.unseen - 1, found.held - 1)[:, None]
    usual = _usual(own, found, degrees[:, 0])
    return (degrees * own + PRIOR_DEGREES * usual) / (degrees + PRIOR_DEGREES), folds_over_seeds


def _told(found: Moments) -> float:
    """Part of a variance between members that is known: all but its relative error.

    That is sqrt(2 / degrees of freedom), and twice as much where coefficients share them.
    """
    degrees = np.where(found.unseen > found.held, found.unseen, found.held) - 1
    return max(0.0, 1 - 2 / float(np.sqrt(max(degrees.sum(), 1))))


def _apart(members: Array) -> Array:
    """Part of the pairs of members that are of two folds; ``members`` [F, ...] of each fold."""
    count = members.sum(axis=0)
    same = (members * (members - 1)).sum(axis=0)
    return np.asarray(1 - same / np.maximum(count * (count - 1), 1))


def _usual(own: Array, found: Moments, degrees: Array) -> Array:
    """Variance [N, L] that is usual for stars of such noise and S/N, from theirs [N, L]."""
    known, usual = degrees > 0, np.zeros_like(own)
    good = np.isfinite(found.snr) & (found.snr > 0)
    log_snr = np.log(np.where(good, found.snr, 1.0))
    log_snr = np.where(good, log_snr - log_snr[good].mean() if good.any() else 0.0, 0.0)
    for k in range(own.shape[1] if known.any() else 0):
        log_noise = np.log(np.maximum(found.noise_square[:, k], 1e-30))
        centre = log_noise[known].mean()
        columns = np.stack([np.ones(len(own)), log_noise - centre, log_snr], axis=1)
        fitted = _gamma_regression(own[known, k], columns[known], degrees[known])
        usual[:, k] = np.exp(columns @ fitted)
    return usual


def _gamma_regression(variance: Array, columns: Array, degrees: Array) -> Array:
    """Coefficients [3] of ln of the expected variance [n] of so many degrees of freedom [n]."""
    most = stats.chi2.ppf(_MOST_USUAL, degrees)
    below = stats.chi2.cdf(most, degrees + 2) + (1 - _MOST_USUAL) * most / degrees
    typical = np.median(variance) / np.median(stats.chi2.median(degrees) / degrees)
    expected = np.array([np.log(max(typical, 1e-30)), 1.0, 0.0])
    precision = np.diag([0.0, 1.0, 1.0]) / _SLOPE_SPREAD**2
    curvature = (columns * degrees[:, None] / 2).T @ columns + precision
    coefficients = expected
    for _ in range(_REGRESSION_STEPS):
        usual = np.exp(columns @ coefficients)
        # What is cut is what a chi-square has above the cut, on average.
        excess = np.minimum(variance / usual, most / degrees) / below - 1
        slope = columns.T @ (degrees / 2 * excess) - precision @ (coefficients - expected)
        coefficients = coefficients + np.clip(np.linalg.solve(curvature, slope), -1.0, 1.0)
    return coefficients
