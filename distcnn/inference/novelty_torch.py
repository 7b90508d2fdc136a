"""Novelty on a device: in torch what ``Novelty.measures`` does in numpy.

Legend: B star, P pixel, k component, Q = k (k + 1) / 2 pair of components.
"""

import numpy as np
import torch
from torch import Tensor, nn

from distcnn.quality import Novelty


class NoveltyTorch(nn.Module):
    """Flux and its error [B,P] -> three measures [B,3] and the typical weight [B]."""

    mean: Tensor
    floor: Tensor
    typical: Tensor
    components: Tensor
    products: Tensor
    place: Tensor

    def __init__(self, novelty: Novelty) -> None:
        super().__init__()
        k = len(novelty.components)
        row, column = np.tril_indices(k)
        place = np.zeros((k, k), np.int64)
        place[row, column] = place[column, row] = np.arange(len(row))
        components = torch.from_numpy(novelty.components)
        floor, noise = (torch.from_numpy(x).square() for x in (novelty.floor, novelty.noise))
        self.register_buffer("mean", torch.from_numpy(novelty.mean))
        self.register_buffer("floor", floor)
        self.register_buffer("typical", 1 / (noise + floor))
        self.register_buffer("components", components)
        self.register_buffer("products", (components[row] * components[column]).mT.contiguous())
        self.register_buffer("place", torch.from_numpy(place).flatten())

    def forward(self, flux: Tensor, flux_error: Tensor | None) -> tuple[Tensor, Tensor]:
        weight, residual = self._weights(flux, flux_error)
        fitted = self._fit(weight, residual)
        square = (residual - fitted @ self.components).square() * weight
        valid = (weight > 0).sum(dim=1, keepdim=True)
        each = (square.sum(dim=1), square.amax(dim=1), fitted.square().mean(dim=1))
        means = torch.stack(each, dim=1)
        means[:, :1] /= valid
        measures = torch.where(valid > 0, means.log(), torch.nan)
        return measures, (weight.sum(dim=1) / valid[:, 0]).log()

    def _weights(self, flux: Tensor, flux_error: Tensor | None) -> tuple[Tensor, Tensor]:
        """Weights (0 = missing) and flux minus mean (0 = missing) [B,P]."""
        weight = self.typical.expand_as(flux)
        if flux_error is not None:
            known = 1 / (flux_error.square() + self.floor)
            weight = torch.where(flux_error > 0, known, weight)
        residual = flux - self.mean
        good = torch.isfinite(residual)
        return torch.where(good, weight, 0), torch.where(good, residual, 0)

    def _fit(self, weight: Tensor, residual: Tensor) -> Tensor:
        """[B,k] components in units of their spread, given a unit Gaussian prior."""
        k = len(self.components)
        normal = (weight @ self.products)[:, self.place].reshape(-1, k, k).double()
        normal.diagonal(dim1=1, dim2=2).add_(1.0)
        right = ((weight * residual) @ self.components.mT).double().unsqueeze(2)
        # Without the check for failure, which would make the host wait for the device.
        factor, _ = torch.linalg.cholesky_ex(normal)
        return torch.cholesky_solve(right, factor).squeeze(2).to(residual.dtype)
