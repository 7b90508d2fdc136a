"""Faint population: copies of bright stars, drawn as the survey's own faint stars are.

Labelled stars are bright and near, of the disc most of them. Farther out more stars are poor in
metals, and what networks make of these, who know few of them, is worse and leans towards the disc:
errors fitted on copies of the labelled stars would be too small. For how many stars of the survey a
copy stands, the survey tells without a label of a faint star: weights that follow the labels of
copies and their S/N are sought by which what networks say of the copies is distributed as what they
say of the survey's stars (label shift: Lipton et al. 2018, ICML 80, 3122).

Legend: N copy, M star of the survey, L label, F function of labels and S/N.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from distcnn.arrays import Array
from distcnn.config import TrainConfig
from distcnn.events import Listener, silent, telling
from distcnn.model import InputSpec
from distcnn.survey import Store
from distcnn.survey.split import Split, assign_split
from distcnn.training.data.copies.faint_copies import FaintCopies
from distcnn.training.data.labelled import Labelled, evenly_spaced, join_stars, read_stars

STAGE = "faint copies"
CANDIDATES = 4
"""Copies of every star that are drawn from."""
SURVEY_BLOCKS = 48
"""Blocks of neighbouring rows, evenly over the survey, whose stars are looked at."""
STARS_PER_SURVEY_BLOCK = 256
"""Stars in each of them, labelled or not; those of the test split are left out."""
MOST_WEIGHT = 30.0
"""Stars of the survey that a copy stands for at most, in units of what is usual."""
MET_FRACTION = 1 / 200
"""Part of the survey's stars, above and below the S/N of a copy, of which it meets one."""
MIN_COPIES = 200
"""Of the S/N of the survey's stars, below which all copies stand for as many."""
EVEN_COPIES = 4.0
"""Copies' worth of belief that all stand for as many."""
_FURTHEST = 4.0
"""Labels count no farther out, in units of their spread."""
_STEPS, _STEP, _LONGEST_STEP = 60, 0.5, 0.5
"""Damped steps of Gauss and Newton towards the weights."""
_DAMPING = 1e-3
"""Of a step, in units of squared slopes."""
_OUTER = 0.005
"""Part of the survey's stars beyond either end of the S/N that are compared."""


def with_copies_of_the_survey(
    stars: Labelled,
    predict: Callable[[Labelled], Array],
    store: Store,
    spec: InputSpec,
    config: TrainConfig,
    *,
    listener: Listener = silent,
) -> Labelled:
    """The stars, and as many faint copies as there are stars, if the settings ask for copies.

    Parameters
    ----------
    predict : labels [N,L] by networks that have not seen these stars.
    listener : hears of every set of stars that is predicted.
    """
    maker = FaintCopies.of(store, spec, config.augment, stars)
    if maker is None:
        return stars
    makers = [replace(maker, seed=maker.seed + number) for number in range(CANDIDATES)]
    with telling(listener, STAGE, CANDIDATES + 1, "sets of stars") as advance:
        survey = _Seen.of(_survey_stars(store, spec, config), predict)
        advance(1)
        parts = []
        for make in makers:
            parts.append(_Seen.of(make(stars), predict))
            advance(1)
    weight = weights(_Seen.joined(parts), survey)
    # Evenly along their sum, the copies of a star side by side: of even weights every star has one.
    places = np.cumsum(weight.reshape(CANDIDATES, -1).T)
    wanted = (np.arange(len(stars)) + 0.5) / len(stars) * places[-1]
    row, number = np.divmod(np.searchsorted(places, wanted), CANDIDATES)
    # Made again instead of being held: the same seeds make the same copies.
    drawn = [make(stars).take(row[number == k]) for k, make in enumerate(makers)]
    return join_stars([stars, *drawn])


@dataclass(frozen=True)
class _Seen:
    """Labels [N,L] that networks give, reference labels [N,L], NaN = missing, and S/N [N]."""

    label: Array
    reference: Array
    snr: Array

    @classmethod
    def of(cls, stars: Labelled, predict: Callable[[Labelled], Array]) -> "_Seen":
        snr = stars.inputs["snr"][:, 0].astype(float)
        return cls(predict(stars).astype(float), stars.label.astype(float), snr)

    @classmethod
    def joined(cls, parts: list["_Seen"]) -> "_Seen":
        columns = zip(*(vars(part).values() for part in parts), strict=True)
        return cls(*(np.concatenate(column) for column in columns))


def weights(copies: _Seen, survey: _Seen) -> Array:
    """[N] for how many stars of the survey of about its S/N each copy stands, 1 being usual.

    Copies fainter or brighter than the survey's stars have the weights of those of its ends.
    """
    ends = np.nanquantile(survey.snr, (_OUTER, 1 - _OUTER))
    inside = (copies.snr >= ends[0]) & (copies.snr <= ends[1])
    if inside.sum() < MIN_COPIES:
        return np.ones(len(copies.snr))
    met = survey.label[_near(copies.snr[inside], survey.snr)]
    centre, spread = np.nanmean(copies.reference, axis=0), np.nanstd(copies.reference, axis=0)
    unit = np.where(spread > 0, spread, 1.0)
    given, wanted, right = (
        np.clip(np.nan_to_num((label - centre) / unit), -_FURTHEST, _FURTHEST)
        for label in (copies.label[inside], met, copies.reference)
    )
    log_snr = np.log10(np.clip(np.nan_to_num(copies.snr, nan=ends[0]), *ends))[:, None] - 1.0
    linear = np.concatenate([right, np.square(right)], axis=1)
    functions = np.concatenate([linear, linear * log_snr], axis=1)
    moments, target = (_moments(label, log_snr[inside]) for label in (given, wanted))
    width = moments.std(axis=0) + 1e-9
    power = _power(functions[inside], moments / width, target.mean(axis=0) / width)
    return _tilted(functions, power)


def _power(functions: Array, moments: Array, target: Array) -> Array:
    """[F] of the weights by which the mean of moments is the target, as far as stars are many."""
    count = len(functions)
    power, even = np.zeros(functions.shape[1]), np.eye(functions.shape[1])
    for _ in range(_STEPS):
        weight = _tilted(functions, power)[:, None]
        off = target - (weight * moments).mean(axis=0)
        centred = functions - (weight * functions).mean(axis=0)
        slope = (weight * moments).T @ centred / count
        square = slope.T @ slope + _DAMPING * even
        step = np.linalg.solve(square, slope.T @ off - EVEN_COPIES / count * power)
        power = power + _STEP * np.clip(step, -_LONGEST_STEP, _LONGEST_STEP)
    return power


def _tilted(functions: Array, power: Array) -> Array:
    """[N] exponentials of the functions [N,F], 1 on average."""
    exponent = functions @ power
    weight = np.exp(exponent - exponent.max())
    weight = np.minimum(weight / weight.mean(), MOST_WEIGHT)
    return np.asarray(weight / weight.mean())


def _near(wanted: Array, snr: Array) -> Array:
    """[N] a row of about the S/N that is wanted, of the M rows."""
    rng = np.random.default_rng(0)
    known = np.flatnonzero(np.isfinite(snr))
    order = known[np.argsort(snr[known], kind="stable")]
    reach = max(1, int(MET_FRACTION * len(order)))
    place = np.searchsorted(snr[order], np.nan_to_num(wanted, nan=0.0))
    place += rng.integers(-reach, reach + 1, len(wanted))
    return np.asarray(order[np.clip(place, 0, len(order) - 1)])


def _moments(label: Array, log_snr: Array) -> Array:
    """Labels in units of their spread and all their products, and these times log S/N [N,1]."""
    first, second = np.triu_indices(label.shape[1])
    both = np.concatenate([label, label[:, first] * label[:, second]], axis=1)
    return np.concatenate([both, both * log_snr], axis=1)


def _survey_stars(store: Store, spec: InputSpec, config: TrainConfig) -> Labelled:
    """Stars of all parts but the test split, whose inputs alone are looked at."""
    size = min(STARS_PER_SURVEY_BLOCK, store.stars)
    starts = evenly_spaced(np.arange(0, store.stars, size), SURVEY_BLOCKS)
    rows = (starts[:, None] + np.arange(size)).ravel()
    stars = read_stars(store, spec, rows[rows < store.stars])
    used = assign_split(stars.source_id, config.split) != Split.TEST
    return stars.take(np.flatnonzero(used & np.isfinite(stars.inputs["snr"][:, 0])))
