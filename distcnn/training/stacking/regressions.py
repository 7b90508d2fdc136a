"""Fit of the regressions that stand beside the networks of a package, one function per method.

Legend: N star, P pixel, F column of ``FeatureTable``, L label.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from distcnn.arrays import Array
from distcnn.config import StackingConfig
from distcnn.events import Advance
from distcnn.model import Network
from distcnn.model.scaling import BranchInputs
from distcnn.model.stacking import Parts
from distcnn.training.stacking.features import COMPONENTS, ComponentAxes, fit_features
from distcnn.training.stacking.fold_regression import fit_folds
from distcnn.training.stacking.gaussian_process import (
    ExponentialKernel,
    Kernel,
    farthest,
    fit_kernel,
    fit_process,
)
from distcnn.training.stacking.perceptrons import FittedPerceptrons, fit_perceptrons
from distcnn.training.stacking.trees import Trees

PENALTIES = 10.0 ** np.arange(-2.0, 6.1, 0.5)
"""Of ridge regression, in units of squared columns."""
MAX_STARS_FOR_INDUCING = 5000
"""Stars among which those are sought that a process remembers."""
MIN_LIKELIHOOD_STARS = 100


@dataclass(frozen=True)
class Regressions:
    """Inputs of N stars, scaled labels [N,L] with gaps, and folds [N]: what is fitted to."""

    branches: BranchInputs
    target: Array
    fold: Array


@dataclass(frozen=True)
class FittedRegressions:
    """Arrays of features and methods, and what each method says [N,L] of stars out of its fold."""

    parts: Parts
    out_of_fold: Mapping[str, Array]


@dataclass(frozen=True)
class _Given:
    stars: Regressions
    table: Array
    axes: ComponentAxes
    log_snr: Array | None
    config: StackingConfig
    seed: int

    @cached_property
    def kernel(self) -> Kernel:
        """Of the columns that kernels see; see ``fit_kernel``."""
        seen = self.table[:, _kernel_columns(self)]
        return _kernel(seen, self.stars.target, np.random.default_rng(self.seed))


def fit_regressions(
    network: Network,
    stars: Regressions,
    config: StackingConfig,
    seed: int,
    advance: Advance = lambda count: None,
) -> FittedRegressions:
    """Fit the methods that are asked for, in the order of the table; ``advance`` after each."""
    arrays, table, axes = fit_features(stars.branches, network.inputs)
    with_snr = "log_snr" in network.inputs.names
    log_snr = table[:, -1] * arrays["scale"][-1] if with_snr else None
    given = _Given(stars, table, axes, log_snr, config, seed)
    parts: dict[str, Mapping[str, Array]] = {"features": arrays}
    found: dict[str, Array] = {}
    for name, fit in METHODS.items():
        if name in config.methods:
            fitted = fit(given)
            if fitted is not None:
                parts[name], found[name] = fitted
            advance(1)
    return FittedRegressions(parts, found)


def _ridge(given: _Given) -> tuple[Mapping[str, Array], Array]:
    """Linear in many components of the spectrum, which is linear in its pixels, and the rest."""
    axes, rest = given.axes, given.table[:, given.axes.kept :]
    spectrum = given.stars.branches["spectrum"].numpy().astype(np.float64)
    columns = np.concatenate([spectrum @ axes.vectors - axes.offset, rest], axis=1)
    found = fit_folds(columns, given.stars.target, given.stars.fold, PENALTIES)
    weights = np.nan_to_num(found.weights)
    count = axes.vectors.shape[1]
    none = np.zeros((axes.kept, weights.shape[1]))
    arrays = {
        "pixels": axes.vectors @ weights[:count],
        "columns": np.concatenate([none, weights[count:]]),
        "offset": np.nan_to_num(found.offset) - axes.offset @ weights[:count],
    }
    return arrays, found.out_of_fold


def _gaussian_process(given: _Given) -> tuple[Mapping[str, Array], Array]:
    """Smooth in a few components of spectrum and XP and all of the rest."""
    return _process(given, given.kernel)


def _exponential_process(given: _Given) -> tuple[Mapping[str, Array], Array]:
    """Continuous in the same columns."""
    return _process(given, ExponentialKernel.like(given.kernel))


def _trees(given: _Given) -> tuple[Mapping[str, Array], Array]:
    """In steps of the same columns; the stars of each fold by trees grown without it."""
    columns, trees = _kernel_columns(given), given.config.trees
    seen, target, fold = given.table[:, columns], given.stars.target, given.stars.fold
    out_of_fold = np.empty_like(target)
    for name in np.unique(fold):
        mine = fold == name
        found = Trees.fit(seen[~mine], target[~mine], trees, given.seed)
        out_of_fold[mine] = found.predict(seen[mine])
    found = Trees.fit(seen, target, trees, given.seed)
    arrays = {
        "columns": columns[found.columns].reshape(-1),
        "thresholds": found.thresholds.reshape(-1),
        "values": found.values.reshape(-1, target.shape[1]),
        "offset": found.offset,
    }
    return arrays, out_of_fold


def _perceptrons(given: _Given) -> tuple[Mapping[str, Array], Array]:
    """Networks of all columns; XP components of little spread tell of metals."""
    stars, table = given.stars, given.table
    found = fit_perceptrons(table, stars.target, stars.fold, given.log_snr, given.seed)
    return perceptron_arrays(found, np.arange(table.shape[1])), found.out_of_fold


def _photometric_perceptrons(given: _Given) -> tuple[Mapping[str, Array], Array] | None:
    """The same of XP, colours and magnitudes, all stars alike; None without these or a spectrum.

    A spectrum of S/N 1 holds next to nothing, but its noise is learned by heart: perceptrons see
    the same noise in every pass, where networks see other noise.
    """
    stars, table, first = given.stars, given.table, given.axes.kept
    columns = np.arange(first, table.shape[1] - (given.log_snr is not None))
    if not first or not len(columns):
        return None
    found = fit_perceptrons(table[:, columns], stars.target, stars.fold, None, given.seed)
    return perceptron_arrays(found, columns), found.out_of_fold


def perceptron_arrays(found: FittedPerceptrons, columns: Array) -> dict[str, Array]:
    """What ``model.stacking.regressors.Perceptrons`` holds of perceptrons of those columns [D]."""
    first, first_offset, second, second_offset, last, offset = found.layers
    networks, _, width = first.shape
    return {
        "columns": columns,
        "first": np.moveaxis(first, 0, 1).reshape(-1, networks * width),
        "first_offset": first_offset.reshape(-1),
        "second": second,
        "second_offset": second_offset,
        "last": last.reshape(networks * width, -1) / networks,
        "offset": offset.mean(axis=(0, 1)),
    }


def _process(given: _Given, kernel: Kernel) -> tuple[Mapping[str, Array], Array]:
    columns = _kernel_columns(given)
    seen, target = given.table[:, columns], given.stars.target
    rng = np.random.default_rng(given.seed)
    some = rng.permutation(len(seen))[:MAX_STARS_FOR_INDUCING]
    inducing = seen[some][farthest(seen[some], kernel, given.config.inducing)]
    found, arrays = fit_process(seen, target, given.stars.fold, kernel, inducing)
    length = np.exp(kernel.log_length)
    arrays = {name: np.nan_to_num(values) for name, values in arrays.items()} | {
        "columns": columns,
        "inverse_length": 1 / length,
        "inducing": inducing / length,
    }
    return arrays, found.out_of_fold


def _kernel_columns(given: _Given) -> Array:
    kept, coefficients = given.axes.kept, given.stars.branches["xp"].shape[1]
    xp = kept + np.arange(min(coefficients, COMPONENTS))
    rest = np.arange(kept + coefficients, given.table.shape[1])
    return np.concatenate([np.arange(kept), xp, rest])


def _kernel(seen: Array, target: Array, rng: np.random.Generator) -> Kernel:
    unit = (target - np.nanmean(target, axis=0)) / np.nanstd(target, axis=0)
    whole = np.isfinite(unit).all(axis=1)
    if whole.sum() < MIN_LIKELIHOOD_STARS:  # labels of different stars: gaps count as the mean
        whole = np.isfinite(unit).any(axis=1)
    return fit_kernel(seen[whole], np.nan_to_num(unit[whole]), rng)


METHODS: Mapping[str, Callable[[_Given], tuple[Mapping[str, Array], Array] | None]] = {
    "ridge": _ridge,
    "gaussian_process": _gaussian_process,
    "exponential_process": _exponential_process,
    "trees": _trees,
    "perceptrons": _perceptrons,
    "photometric_perceptrons": _photometric_perceptrons,
}
"""How each method of ``model.stacking.REGRESSORS`` is fitted; None where the stars lack what it is
of."""
