"""Regressors: how labels are computed beside the networks, one class per method.

They are fitted in ``training.stacking``; here they only answer, with scaled labels [B,L] as the
layers of a network do.

Legend: B star, P pixel, F column of ``FeatureTable``, D column that a kernel sees, U inducing star,
T tree, D level, L label; of perceptrons M network, H neuron.
"""

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from distcnn.arrays import Array
from distcnn.model.scaling import BranchInputs

LEAST_DISTANCE = 1e-10
"""Half of the squared distance to an inducing star below which gradients are not told."""


class Regressor(nn.Module):
    """A method, made of the arrays of a package, which it holds as buffers.

    Optimised: products with few columns (labels) take those columns as rows
    (``hold_rows_of``), which is 3.6 times as fast; the plain code is ``x @ matrix``
    (``test_products_by_rows_are_those_by_columns``).
    """

    def __init__(self, arrays: Mapping[str, Array]) -> None:
        super().__init__()
        for name, values in arrays.items():
            kind = np.int64 if values.dtype.kind in "iu" else np.float32
            self.register_buffer(name, torch.from_numpy(np.array(values, kind)))

    def hold_rows_of(self, name: str) -> None:
        """Hold that matrix transposed in memory, too, as NAME_rows; packages do not have it."""
        rows: Tensor = getattr(self, name).T.contiguous()
        self.register_buffer(f"{name}_rows", rows, persistent=False)

    def forward(self, inputs: BranchInputs, table: Tensor) -> Tensor:
        """Scaled labels [B,L] from what networks are given and the columns [B,F]."""
        raise NotImplementedError


class LinearRegression(Regressor):
    """Linear in pixels and columns (ridge regression, Hoerl & Kennard 1970, Technometrics 12, 55).

    ``pixels`` [P,L], ``columns`` [F,L], ``offset`` [L].
    """

    pixels: Tensor
    columns: Tensor
    offset: Tensor
    columns_rows: Tensor

    def __init__(self, arrays: Mapping[str, Array]) -> None:
        super().__init__(arrays)
        self.hold_rows_of("columns")

    def forward(self, inputs: BranchInputs, table: Tensor) -> Tensor:
        return self.of_product(inputs["spectrum"] @ self.pixels, table)

    def of_product(self, product: Tensor, table: Tensor) -> Tensor:
        """The same, where ``product`` [B,L] of spectra and ``pixels`` is computed already."""
        return product + functional.linear(table, self.columns_rows, self.offset)


class GaussianProcess(Regressor):
    """Mean of a sparse Gaussian process with a squared exponential kernel and a linear term.

    Subset of regressors (Quinonero-Candela & Rasmussen 2005, JMLR 6, 1939): a sum over U inducing
    stars. ``columns`` [D] which columns the kernel sees, ``inverse_length`` [D], ``inducing``
    [U,D] over the lengths, ``weights`` [U,L], ``linear`` [D,L], ``offset`` [L].
    """

    columns: Tensor
    inverse_length: Tensor
    inducing: Tensor
    weights: Tensor
    linear: Tensor
    offset: Tensor

    def __init__(self, arrays: Mapping[str, Array]) -> None:
        super().__init__(arrays)
        halves = -0.5 * self.inducing.square().sum(dim=1, keepdim=True)
        both = torch.cat([self.inducing, halves, torch.ones_like(halves)], dim=1)
        self.register_buffer("with_halves", both.T.contiguous(), persistent=False)
        self.hold_rows_of("weights")
        self.hold_rows_of("linear")

    with_halves: Tensor
    weights_rows: Tensor
    linear_rows: Tensor

    def forward(self, inputs: BranchInputs, table: Tensor) -> Tensor:
        seen = table.index_select(1, self.columns) * self.inverse_length
        halves = -0.5 * seen.square().sum(dim=1, keepdim=True)
        # In one product: minus half of the squared distance, x z - x x / 2 - z z / 2.
        both = torch.cat([seen, torch.ones_like(halves), halves], dim=1)
        exponent = both @ self.with_halves
        if exponent.requires_grad:
            # Gradients need what the fast way overwrites; a star that is itself an inducing one
            # stands on a kink of the exponential kernel.
            kernel = self.differentiable_kernel(exponent.clamp(max=-LEAST_DISTANCE))
        else:
            kernel = self.kernel(exponent.clamp_(max=0.0))
        smooth = functional.linear(kernel, self.weights_rows, self.offset)
        return smooth + functional.linear(seen, self.linear_rows)

    def kernel(self, exponent: Tensor) -> Tensor:
        """[B,U] from minus half of the squared distance, in its place."""
        return exponent.exp_()

    def differentiable_kernel(self, exponent: Tensor) -> Tensor:
        """The same for who asks for gradients."""
        return exponent.exp()


class ExponentialProcess(GaussianProcess):
    """The same with an exponential kernel (Matern 1/2), whose functions have kinks."""

    def kernel(self, exponent: Tensor) -> Tensor:
        return exponent.mul_(-2.0).sqrt_().neg_().exp_()

    def differentiable_kernel(self, exponent: Tensor) -> Tensor:
        return (-(-2.0 * exponent).sqrt()).exp()


class BoostedTrees(Regressor):
    """Boosted oblivious trees, evaluated without a branch; see ``training.stacking.trees``.

    ``columns``, ``thresholds`` [T*D], ``values`` [T*2^D,L], ``offset`` [L].
    """

    columns: Tensor
    thresholds: Tensor
    values: Tensor
    offset: Tensor

    def __init__(self, arrays: Mapping[str, Array]) -> None:
        super().__init__(arrays)
        self.levels = _levels(len(self.columns), len(self.values))
        trees = torch.arange(len(self.columns) // self.levels, dtype=torch.int32) << self.levels
        self.register_buffer("first", trees.unsqueeze(1), persistent=False)
        used, places = torch.unique(self.columns, return_inverse=True)
        self.register_buffer("asked_of", used, persistent=False)
        self.register_buffer("places", places, persistent=False)

    first: Tensor
    asked_of: Tensor
    places: Tensor

    def forward(self, inputs: BranchInputs, table: Tensor) -> Tensor:
        # Stars run along rows, so that a question is asked of many at once.
        rows = table.index_select(1, self.asked_of).T.contiguous()
        leaf = self.first.expand(-1, len(table)).clone()
        columns = self.places.view(-1, self.levels)
        thresholds = self.thresholds.view(-1, self.levels, 1)
        for level in range(self.levels):
            asked = rows.index_select(0, columns[:, level])
            leaf.add_(asked > thresholds[:, level], alpha=1 << (self.levels - 1 - level))
        found = functional.embedding_bag(leaf.T.contiguous(), self.values, mode="sum")
        return found + self.offset


class Perceptrons(Regressor):
    """Mean of multilayer perceptrons of two hidden layers; see ``training.stacking.perceptrons``.

    ``columns`` [D]; ``first`` [D,M*H], ``first_offset`` [M*H]; ``second`` [M,H,H],
    ``second_offset`` [M,1,H]; ``last`` [M*H,L], ``offset`` [L], the mean over networks taken.
    """

    columns: Tensor
    first: Tensor
    first_offset: Tensor
    second: Tensor
    second_offset: Tensor
    last: Tensor
    offset: Tensor
    last_rows: Tensor

    def __init__(self, arrays: Mapping[str, Array]) -> None:
        super().__init__(arrays)
        self.hold_rows_of("last")

    def forward(self, inputs: BranchInputs, table: Tensor) -> Tensor:
        seen = table.index_select(1, self.columns)
        networks, width = self.second.shape[:2]
        x = functional.silu(torch.addmm(self.first_offset, seen, self.first))
        x = x.view(-1, networks, width).transpose(0, 1)
        x = functional.silu(torch.baddbmm(self.second_offset, x, self.second))
        return functional.linear(x.transpose(0, 1).flatten(1), self.last_rows, self.offset)


def _levels(questions: int, leaves: int) -> int:
    """D of T*D questions and T*2^D leaves."""
    return next(d for d in range(1, 16) if questions % d == 0 and (questions // d) << d == leaves)


REGRESSORS: Mapping[str, type[Regressor]] = {
    "ridge": LinearRegression,
    "gaussian_process": GaussianProcess,
    "exponential_process": ExponentialProcess,
    "trees": BoostedTrees,
    "perceptrons": Perceptrons,
    "photometric_perceptrons": Perceptrons,
}
"""By the name in ``train.stacking.methods`` and in packages. A new one is a class here, how it is
fitted in ``training.stacking.regressions``, and a row in both tables."""
