"""Fit of ``model.stacking.FeatureTable`` to stars: principal components, centres, widths.

Legend: N star, P pixel, A component, F column.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from distcnn.arrays import Array
from distcnn.model.scaling import BRIGHT_FRACTION, BranchInputs, InputScaling
from distcnn.model.stacking import FeatureTable

COMPONENTS = 30
"""Principal components of the spectrum in the table, and of XP that a kernel sees."""
MAX_COMPONENTS = 150
"""Of the spectrum in a linear regression, which on so many is one on all pixels."""
MAX_STARS_FOR_COMPONENTS = 2000
"""Stars that the components are taken from, evenly."""


@dataclass(frozen=True)
class ComponentAxes:
    """``vectors`` [P,A] of the spectrum, widest first; ``offset`` [A] is the mean on them, and the
    first ``kept`` stand in the table.
    """

    vectors: Array
    offset: Array

    @property
    def kept(self) -> int:
        return min(COMPONENTS, int(self.vectors.shape[1]))


def fit_features(
    branches: BranchInputs, scaling: InputScaling
) -> tuple[dict[str, Array], Array, ComponentAxes]:
    """Arrays of the table, the table [N,F] of these stars, and axes of the spectrum."""
    names = scaling.names
    colours = [k for k, name in enumerate(names) if name.startswith("colour_")]
    scalars = branches["scalars"].numpy()
    axes = _components(branches["spectrum"].numpy()[_brightest(scalars, names)], MAX_COMPONENTS)
    arrays = {
        "spectrum_axes": axes.vectors[:, : axes.kept],
        "spectrum_offset": axes.offset[: axes.kept],
        "colour_axes": _components(scalars[:, colours], len(colours)).vectors,
        "feature_centre": scaling.feature_centre.numpy(),
        "feature_scale": scaling.feature_scale.numpy(),
        "centre": np.zeros(1),
        "scale": np.ones(1),
    }
    with torch.inference_mode():
        columns = FeatureTable(arrays, names).columns(branches).numpy().astype(np.float64)
        spread = columns.std(axis=0)
        arrays["centre"] = columns.mean(axis=0)
        arrays["scale"] = np.where(spread > 0, spread, 1.0)
        table = FeatureTable(arrays, names)(branches).numpy().astype(np.float64)
    return arrays, table, axes


def _brightest(scalars: Array, names: Sequence[str]) -> Array:
    """Rows of the stars of the highest S/N: the widest axes of faint ones are those of noise."""
    if "log_snr" not in names:
        return np.arange(len(scalars))
    count = max(MAX_STARS_FOR_COMPONENTS, int(BRIGHT_FRACTION * len(scalars)))
    order = np.argsort(-scalars[:, list(names).index("log_snr")], kind="stable")
    return np.sort(order[:count])


def _components(values: Array, most: int) -> ComponentAxes:
    """Axes of largest variance of ``values`` [N,P]."""
    width = values.shape[1]
    if not width:
        return ComponentAxes(np.empty((0, 0)), np.empty(0))
    some = values[:: max(1, -(-len(values) // MAX_STARS_FOR_COMPONENTS))].astype(np.float64)
    centred = some - some.mean(axis=0)
    count = min(most, width, len(some) - 1)
    if len(some) < width:
        _, vectors = np.linalg.eigh(centred @ centred.T)
        axes = centred.T @ vectors[:, ::-1][:, :count]
        axes /= np.maximum(np.linalg.norm(axes, axis=0), 1e-12)
    else:
        axes = np.linalg.eigh(centred.T @ centred)[1][:, ::-1][:, :count]
    # The sign of an axis is chance; this makes it the same on every machine.
    signs = np.sign(axes[np.abs(axes).argmax(axis=0), np.arange(axes.shape[1])])
    axes = axes * np.where(signs == 0, 1.0, signs)
    return ComponentAxes(axes, some.mean(axis=0) @ axes)
