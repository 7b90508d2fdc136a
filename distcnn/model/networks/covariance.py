"""Covariance: how the errors of a star's labels go together.

A network gives, beside sigma per label, the free entries of a triangular matrix whose rows are
then scaled to length one: its square is a correlation matrix whatever the entries are.

Legend: B star, L label, K = L (L - 1) / 2 pair of labels, in the order of ``pairs``.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

MIN_SIGMA = 1e-3
"""What the positive noise of a network never falls below, in spreads of a label."""


def pairs(labels: int) -> list[tuple[int, int]]:
    """Places (row, column) of the K pairs: (1, 0), (2, 0), (2, 1), ..."""
    return [(row, column) for row in range(labels) for column in range(row)]


class Correlation(nn.Module):
    """Free entries [B,K] -> correlation matrix [B,L,L]."""

    places: Tensor

    def __init__(self, labels: int) -> None:
        super().__init__()
        self.labels = labels
        places = torch.zeros(labels * (labels - 1) // 2, labels * labels)
        for number, (row, column) in enumerate(pairs(labels)):
            places[number, row * labels + column] = 1.0
        self.register_buffer("places", places, persistent=False)

    def forward(self, entries: Tensor) -> Tensor:
        below = (entries @ self.places).reshape(-1, self.labels, self.labels)
        rows = below + torch.eye(self.labels, dtype=entries.dtype, device=entries.device)
        rows = rows / rows.square().sum(dim=2, keepdim=True).sqrt()
        return rows @ rows.transpose(1, 2)


def correlations(entries: Tensor) -> Tensor:
    """What ``Correlation`` gives, for free entries [K,N] of many: [L,L,N], computed by columns.

    Products of many small matrices leave a CPU idle; products of long columns do not.
    """
    labels = next(n for n in range(1, len(entries) + 2) if n * (n - 1) // 2 == len(entries))
    out = entries.new_ones(labels, labels, entries.shape[1])
    rows: list[Tensor] = []
    for row in range(labels):
        free = entries[row * (row - 1) // 2 :][:row]
        length = (1 + free.square().sum(dim=0)).rsqrt()
        rows.append(torch.cat([free * length, length.unsqueeze(0)]))
        for column in range(row):
            shared = (rows[row][: column + 1] * rows[column]).sum(dim=0)
            out[row, column] = out[column, row] = shared
    return out


def pack_pairs(matrix: Tensor) -> Tensor:
    """The K entries below the diagonal of symmetric matrices [..., L, L]."""
    row, column = torch.tril_indices(matrix.shape[-1], matrix.shape[-1], -1)
    return matrix[..., row, column]


def pair_names(labels: Sequence[str]) -> tuple[str, ...]:
    """``teff_logg``, ...: names of the K pairs."""
    return tuple(f"{labels[column]}_{labels[row]}" for row, column in pairs(len(labels)))
