"""Regressors: how labels are computed beside the networks, one class per method.

They are fitted in ``training.stacking``; here they only answer, with scaled labels [B,L] as the
layers of a network do.

Legend: B star, P pixel, F column of ``FeatureTable``, D column that a kernel sees, U inducing star,
L label.
"""

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor, nn

from distcnn.arrays import Array
from distcnn.model.scaling import BranchInputs


class Regressor(nn.Module):
    """A method, made of the arrays of a package, which it holds as buffers."""

    def __init__(self, arrays: Mapping[str, Array]) -> None:
        super().__init__()
        for name, values in arrays.items():
            kind = np.int64 if values.dtype.kind in "iu" else np.float32
            self.register_buffer(name, torch.from_numpy(np.array(values, kind)))

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

    def forward(self, inputs: BranchInputs, table: Tensor) -> Tensor:
        return inputs["spectrum"] @ self.pixels + table @ self.columns + self.offset


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

    def forward(self, inputs: BranchInputs, table: Tensor) -> Tensor:
        seen = table.index_select(1, self.columns) * self.inverse_length
        squares = seen.square().sum(dim=1, keepdim=True) + self.inducing.square().sum(dim=1)
        exponent = torch.addmm(squares, seen, self.inducing.T, beta=-0.5)
        kernel = torch.exp(torch.clamp(exponent, max=0.0))
        return kernel @ self.weights + seen @ self.linear + self.offset


REGRESSORS: Mapping[str, type[Regressor]] = {
    "ridge": LinearRegression,
    "gaussian_process": GaussianProcess,
}
"""By the name in ``train.stacking.methods`` and in packages. A new one is a class here, how it is
fitted in ``training.stacking.regressions``, and a row in both tables."""
