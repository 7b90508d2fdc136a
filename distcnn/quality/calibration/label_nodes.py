"""Nodes along predicted labels, between which scales of errors go over linearly.

Legend: N star, L label, A axis (a predicted label), J node.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from distcnn.arrays import Array
from distcnn.quality.calibration.smooth_scale import Penalty, hat_weights, nodes_at

AXES = ("teff", "logg", "mh")
"""Labels that errors go with; where there is no mh, feh stands for it."""
NODE_QUANTILES = np.array([0.02, 0.15, 0.35, 0.65, 0.85, 0.98])
STEP_SPREAD = 0.08
"""Of ln scale from a node to the next, where the stars are too few to show their own."""
_LEVEL_SPREAD = 1.0  # of the mean over an axis, which the rest of the scale tells as well
_LEAST_RANGE = 1e-6  # of the labels of an axis: all alike, they tell nothing


@dataclass(frozen=True)
class LabelNodes:
    """``columns`` int [A] of the labels, ``places`` [A,J] ascending along each."""

    columns: Array
    places: Array

    @classmethod
    def none(cls) -> "LabelNodes":
        """No axis."""
        return cls(np.zeros(0, np.int64), np.zeros((0, len(NODE_QUANTILES))))

    @classmethod
    def of(cls, label: Array, names: Sequence[str]) -> "LabelNodes":
        """Nodes at quantiles of predicted labels [N,L]."""
        columns, places = [], []
        for name in axes(names):
            values = label[:, names.index(name)]
            values = values[np.isfinite(values)]
            if values.size and np.ptp(values) > _LEAST_RANGE:
                columns.append(names.index(name))
                places.append(nodes_at(values, NODE_QUANTILES))
        return cls(np.array(columns, np.int64), np.array(places)) if columns else cls.none()

    def weights(self, label: Array) -> Array:
        """[N, A * J] of every node in stars of predicted labels [N,L]; of each axis they sum to 1.

        A label that is not known counts as the lowest.
        """
        parts = [
            hat_weights(np.nan_to_num(label[:, column], nan=places[0]), places)
            for column, places in zip(self.columns, self.places, strict=True)
        ]
        return np.concatenate(parts, axis=1) if parts else np.zeros((len(label), 0))

    def penalties(self, before: int) -> list[Penalty]:
        """A random walk along every axis; its coefficients stand behind so many others."""
        axes, nodes = self.places.shape
        steps, mean = np.diff(np.eye(nodes), axis=0), np.full((1, nodes), 1 / nodes)
        found = []
        for number in range(axes):
            left = before + number * nodes
            around = (0, 0), (left, (axes - number - 1) * nodes)
            found.append(Penalty(np.pad(steps, around), STEP_SPREAD))
            found.append(Penalty(np.pad(mean, around), _LEVEL_SPREAD))
        return found

    def contrast(self, number: int, usual: Array) -> Array:
        """[A * J]: node ``number`` against ``usual`` [A * J], the mean weights of all stars."""
        axis = np.arange(self.places.size) // self.places.shape[1]
        found = np.where(axis == axis[number], -usual, 0.0)
        found[number] += 1.0
        return found

    def log_factor(self, label: Array, log_scale: Array) -> Array:
        """[N,L] from ln factors at the nodes [A * J, L].

        Optimised: interpolates label by label, in a third of the time of ``weights(label) @
        log_scale``, which it equals (``test_label_nodes_interpolate_as_their_weights_say``).
        """
        total = np.zeros((len(label), log_scale.shape[1]))
        tables = log_scale.reshape(*self.places.shape, log_scale.shape[1])
        for column, places, table in zip(self.columns, self.places, tables, strict=True):
            at = np.nan_to_num(label[:, column], nan=places[0])
            total += np.stack([np.interp(at, places, values) for values in table.T], axis=1)
        return total


def axes(names: Sequence[str]) -> list[str]:
    """Those of ``AXES`` that are among the labels."""
    known = [name for name in AXES if name in names]
    return known if "mh" in known or "feh" not in names else [*known, "feh"]
