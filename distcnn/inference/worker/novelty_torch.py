"""Novelty on a device: in torch what ``Novelty.measures`` does in numpy.

Legend: B star, P pixel, k component, Q = k (k + 1) / 2 pair of components, r pattern, G bin,
E expected component.
"""

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor, nn

from distcnn.quality import Novelty
from distcnn.quality.novelty import (
    LEAST_SPARSENESS,
    MOST_SPREADS,
    BlendClassifier,
    BlendPatterns,
    ExpectedComponents,
    raw_columns,
    terms_of,
)
from distcnn.quality.training_density import TrainingDensity


class DensityTorch(nn.Module):
    """Components [B,k] -> ln density of training stars [B]; as ``TrainingDensity.log_density``."""

    centre: Tensor
    spread: Tensor
    log_weight: Tensor
    mean: Tensor
    root: Tensor

    def __init__(self, density: TrainingDensity) -> None:
        super().__init__()
        self.bound = density.bound
        for name in ("centre", "spread", "log_weight", "mean", "root"):
            values = np.ascontiguousarray(getattr(density, name), np.float32)
            self.register_buffer(name, torch.from_numpy(values))

    def forward(self, fitted: Tensor) -> Tensor:
        offset = ((fitted - self.centre) / self.spread)[:, None] - self.mean
        square = torch.einsum("kij,bkj->bki", self.root, offset).square().sum(dim=2)
        return torch.logsumexp(self.log_weight - 0.5 * square, dim=1)


class ExpectedComponentsTorch(nn.Module):
    """Components [B,k], ln typical weight [B], other light -> as ``ExpectedComponents.residual``,
    [B,E].
    """

    axes: Tensor
    centre: Tensor
    spread: Tensor
    weights: Tensor
    grid: Tensor
    scatter: Tensor
    products: Tensor

    def __init__(self, expected: ExpectedComponents) -> None:
        super().__init__()
        self.reads, self.covers = expected.reads, expected.covers
        for name in ("axes", "centre", "spread", "weights"):
            values = np.ascontiguousarray(getattr(expected, name), np.float32)
            self.register_buffer(name, torch.from_numpy(values))
        grid, scatter = _interpolated(expected.grid, expected.scatter)
        self.register_buffer("grid", grid)
        self.register_buffer("scatter", scatter)
        self.register_buffer("products", torch.from_numpy(expected.products))

    def forward(self, fitted: Tensor, weight: Tensor, light: Mapping[str, Tensor]) -> Tensor:
        count = self.weights.shape[1]
        if not self.covers(light):
            return torch.zeros_like(fitted[:, :count])
        raw = raw_columns(torch, light, self.axes, self.reads)
        whole = torch.isfinite(raw).all(dim=1, keepdim=True)
        scaled = ((raw - self.centre) / self.spread).clamp(-MOST_SPREADS, MOST_SPREADS)
        terms = terms_of(torch, torch.where(whole, scaled, 0.0), self.products)
        off = fitted[:, :count] - terms @ self.weights
        off = off / _along_weight(torch.nan_to_num(weight), self.grid, self.scatter)
        return torch.where(whole, off, 0.0)


def _interpolated(grid: np.ndarray, table: np.ndarray) -> tuple[Tensor, Tensor]:
    """What ``_along_weight`` reads: twice the last row, that there is always one beyond."""
    longer = np.append(grid, grid[-1] + 1.0).astype(np.float32)
    twice = np.vstack([table, table[-1:]]).astype(np.float32)
    return torch.from_numpy(longer), torch.from_numpy(twice)


def _along_weight(weight: Tensor, grid: Tensor, table: Tensor) -> Tensor:
    """Values [B,M] of a table at ln weights [B], linear between those of the grid."""
    above = torch.searchsorted(grid, weight.contiguous()).clamp(1, len(grid) - 1)
    low, high = grid[above - 1], grid[above]
    part = ((weight - low) / (high - low)).clamp(0, 1)[:, None]
    return torch.lerp(table[above - 1], table[above], part)


class BlendPatternsTorch(nn.Module):
    """Weight times residual [B,P], ln typical weight [B] -> projections [B,r] of
    ``BlendPatterns``.
    """

    patterns: Tensor
    grid: Tensor
    table: Tensor

    def __init__(self, blends: BlendPatterns) -> None:
        super().__init__()
        grid, table = _interpolated(blends.grid, np.hstack([blends.centre, blends.spread]))
        self.register_buffer("patterns", torch.from_numpy(blends.patterns).mT.contiguous())
        self.register_buffer("grid", grid)
        self.register_buffer("table", table)

    def forward(self, weighted: Tensor, weight: Tensor) -> Tensor:
        centre, spread = _along_weight(weight, self.grid, self.table).chunk(2, dim=1)
        projected = (weighted @ self.patterns) * torch.exp(-0.5 * weight)[:, None]
        return (projected - centre) / spread


class BlendClassifierTorch(nn.Module):
    """Features [B,F] -> as ``BlendClassifier.log_odds``, [B]."""

    centre: Tensor
    spread: Tensor
    hidden: Tensor
    hidden_offset: Tensor
    output: Tensor
    output_offset: Tensor

    def __init__(self, classifier: BlendClassifier) -> None:
        super().__init__()
        for name, values in classifier.to_arrays().items():
            self.register_buffer(name, torch.from_numpy(np.ascontiguousarray(values)))

    def forward(self, features: Tensor) -> Tensor:
        scaled = ((features - self.centre) / self.spread).clamp(-MOST_SPREADS, MOST_SPREADS)
        hidden = torch.relu(scaled @ self.hidden + self.hidden_offset)
        return hidden @ self.output + self.output_offset


class NoveltyTorch(nn.Module):
    """Flux and its error [B,P], other light -> the measures [B,M] and the typical weight [B]."""

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
        self.density = None if novelty.density is None else DensityTorch(novelty.density)
        self.blends = None if novelty.blends is None else BlendPatternsTorch(novelty.blends)
        self.classifier = (
            None if novelty.classifier is None else BlendClassifierTorch(novelty.classifier)
        )
        self.expected = (
            None if novelty.expected is None else ExpectedComponentsTorch(novelty.expected)
        )

    def forward(
        self, flux: Tensor, flux_error: Tensor | None, light: Mapping[str, Tensor] | None = None
    ) -> tuple[Tensor, Tensor]:
        weight, residual = self._weights(flux, flux_error)
        fitted = self._fit(weight, residual)
        root = weight.sqrt()
        rest = (residual - fitted @ self.components) * root
        valid = (weight > 0).sum(dim=1)
        typical = (weight.sum(dim=1) / valid).log()
        total = rest.square().sum(dim=1)
        columns = [total / valid, rest.square().amax(dim=1)]
        if self.blends is None or self.density is None:
            columns.append(fitted.square().mean(dim=1))
        if self.density is not None:
            below = (self.density.bound - self.density(fitted)) / fitted.shape[1]
            columns.append(below.clamp_min(LEAST_SPARSENESS))
        if self.blends is not None:
            known = 0.0 if flux_error is None else 1.0
            alike = known * (rest[:, 1:] * rest[:, :-1]).sum(dim=1) / total
            columns.append(1 / (1 - alike))
        measures = torch.stack(columns, dim=1).log()
        if self.blends is not None and self.classifier is not None:
            projected = self.blends(rest * root, typical)
            parts = [projected, fitted, measures, typical[:, None]]
            if self.expected is not None:
                parts.append(self.expected(fitted, typical, light or {}))
            features = torch.cat(parts, dim=1)
            measures = torch.cat([measures, self.classifier(features)[:, None]], dim=1)
        return torch.where(valid[:, None] > 0, measures, torch.nan), typical

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
