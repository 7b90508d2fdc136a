"""Stacking: the label of a package as a weighted mean of the ensemble's and of regressions.

Weights are not negative, sum to one, differ by label and vary smoothly with the S/N of the spectrum
(stacked regression: Wolpert 1992, Neural Networks 5, 241; Breiman 1996, Machine Learning 24, 49).
What the mean is wrong by on average, along each label, is taken off.
The regressions know no missing inputs: a star that lacks one that training stars have keeps the
label of the ensemble, which was trained for that.

Legend: B star, S scalar feature, L label, J method (the ensemble first), T knot in log S/N.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from safetensors.numpy import load as load_arrays
from safetensors.numpy import save as save_arrays
from torch import Tensor, nn
from torch.nn import functional

from distcnn.arrays import Array
from distcnn.model.scaling import BranchInputs, LabelScaling
from distcnn.model.stacking.features import FeatureTable, lacks_nothing
from distcnn.model.stacking.regressors import REGRESSORS, LinearRegression

WHOLE_COLUMNS = 16
"""Products of spectra are a fifth faster with a multiple of so many columns."""
ENSEMBLE = "ensemble"
"""The first of the methods."""
Parts = Mapping[str, Mapping[str, Array]]
"""Arrays by name, of each part by name: ``FeatureTable`` ("features"), regressors, "weights"."""


class Stacking(nn.Module):
    """Scaled inputs and the ensemble's label [B,L] -> the stacked label [B,L].

    Parameters
    ----------
    names : of the S scalar features.
    labels : scaling of the labels.
    parts : "weights" are ``knots`` [T] in log10 S/N, ``weights`` [T,J,L], ``low``, ``high`` [L],
        the range of the training stars in scaled units, and ``required`` [S], 1 for indicators
        that must be 1; ``mean_residual`` [L,T'] at scaled labels ``nodes`` [L,T'] is what such a
        label is wrong by on average (nothing, in packages of before it was taken off).
    """

    knots: Tensor
    weights: Tensor
    low: Tensor
    high: Tensor
    required: Tensor
    nodes: Tensor
    mean_residual: Tensor
    spectral: Tensor

    def __init__(self, names: Sequence[str], labels: LabelScaling, parts: Parts) -> None:
        super().__init__()
        self.names, self.labels = tuple(names), labels
        self.features = FeatureTable(parts["features"], names)
        methods = [name for name in REGRESSORS if name in parts]
        self.methods = (ENSEMBLE, *methods)
        self.regressors = nn.ModuleList([REGRESSORS[name](parts[name]) for name in methods])
        nothing = np.zeros((len(parts["weights"]["low"]), 2))
        recentring = {"nodes": nothing + np.arange(2.0), "mean_residual": nothing}
        for name, values in (recentring | dict(parts["weights"])).items():
            self.register_buffer(name, torch.from_numpy(np.array(values, np.float32)))
        linear = [found.pixels for found in self.regressors if isinstance(found, LinearRegression)]
        spectral = torch.cat([self.features.spectrum_axes, *linear], dim=1)
        spare = (0, -spectral.shape[1] % WHOLE_COLUMNS)
        self.register_buffer("spectral", functional.pad(spectral, spare), persistent=False)

    @classmethod
    def from_bytes(cls, names: Sequence[str], labels: LabelScaling, data: bytes) -> "Stacking":
        """From what ``to_bytes`` made of its parts."""
        parts: dict[str, dict[str, Array]] = {}
        for name, values in load_arrays(data).items():
            part, _, array = name.partition(".")
            parts.setdefault(part, {})[array] = values
        return cls(names, labels, parts)

    def forward(self, inputs: BranchInputs, label: Tensor) -> Tensor:
        """The stacked label in label units; stars that lack something keep ``label`` to the bit."""
        scaled = (self.labels.transformed(label) - self.labels.centre) / self.labels.scale
        stacked, good = self.stacked(inputs, scaled)
        value = self.labels(stacked, torch.ones_like(stacked))[0]
        return torch.where(good, value, label)

    def stacked(self, inputs: BranchInputs, scaled: Tensor) -> tuple[Tensor, Tensor]:
        """The scaled stacked label [B,L] and where it is to be used, bool [B,L]."""
        raw = self.features.raw(inputs["scalars"])
        estimates = torch.stack([scaled, *self.estimates(inputs, raw)], dim=1)
        stacked = self.recentred((estimates * self.weights_at(raw)).sum(dim=1))
        good = self.complete(inputs["scalars"], raw).unsqueeze(1) & torch.isfinite(stacked)
        return torch.where(good, stacked, scaled), good

    def estimates(self, inputs: BranchInputs, raw: Tensor | None = None) -> list[Tensor]:
        """Scaled labels [B,L] of every regressor, within the range of the training stars.

        ``raw`` [B,S]: scalar features in their own units, where they are computed already.

        Optimised: components and ridge regression share one product with the spectra, which takes
        a sixth off the time of stacking; the plain code is ``found(inputs, self.features(inputs))``
        (``test_shared_products_give_what_every_regressor_says``).
        """
        products = inputs["spectrum"] @ self.spectral
        kept, labels = self.features.spectrum_axes.shape[1], len(self.low)
        table = self.features(inputs, products[:, :kept], raw)
        answers = [
            found.of_product(products[:, kept : kept + labels], table)
            if isinstance(found, LinearRegression)
            else found(inputs, table)
            for found in self.regressors
        ]
        return [torch.minimum(torch.maximum(one, self.low), self.high) for one in answers]

    def recentred(self, label: Tensor) -> Tensor:
        """Scaled labels [B,L] without their mean residual."""
        nodes, mean = self.nodes, self.mean_residual
        place = torch.minimum(torch.maximum(label, nodes[:, 0]), nodes[:, -1]).unsqueeze(-1)
        passed = torch.clamp((place - nodes[:, :-1]) / (nodes[:, 1:] - nodes[:, :-1]), 0.0, 1.0)
        return label - mean[:, 0] - (passed * (mean[:, 1:] - mean[:, :-1])).sum(dim=-1)

    def complete(self, scalars: Tensor, raw: Tensor) -> Tensor:
        """[B] bool: the star has all inputs that the regressions need."""
        return lacks_nothing(scalars, raw, self.names, self.required)

    def weights_at(self, raw: Tensor) -> Tensor:
        """[B,J,L] or [1,J,L], linear in log S/N between the knots and constant beyond them."""
        if len(self.knots) == 1:
            return self.weights
        shares = hats(raw[:, self.names.index("log_snr")], self.knots)
        return (shares @ self.weights.flatten(1)).view(-1, *self.weights.shape[1:])


def to_bytes(parts: Parts) -> bytes:
    """The file of a package."""
    arrays = {
        f"{part}.{name}": np.ascontiguousarray(values)
        for part, named in parts.items()
        for name, values in named.items()
    }
    single = {
        name: values.astype(np.float32) if values.dtype == np.float64 else values
        for name, values in arrays.items()
    }
    return bytes(save_arrays(single))


def hats(place: Tensor, knots: Tensor) -> Tensor:
    """[B,T] shares of the knots at places [B]: 1 at a knot, falling linearly to its neighbours."""
    inside = torch.clamp(place, min=knots[0], max=knots[-1]).unsqueeze(1)
    rising = torch.clamp((inside - knots[:-1]) / (knots[1:] - knots[:-1]), 0.0, 1.0)
    ones, zeros = torch.ones_like(inside), torch.zeros_like(inside)
    return torch.cat([ones, rising], dim=1) - torch.cat([rising, zeros], dim=1)
