"""Fit of a sparse Gaussian process: lengths by the marginal likelihood, weights by folds.

Legend: N star, D column that the kernel sees, U inducing star, L label.
"""

from dataclasses import dataclass

import numpy as np

from distcnn.arrays import Array
from distcnn.training.stacking.fold_regression import FoldRegression, fit_folds

MAX_LIKELIHOOD_STARS = 400
"""Stars on which the lengths are found; its cost grows with the cube."""
LIKELIHOOD_STEPS = 40
STEP = 0.15
"""Of Adam (Kingma & Ba 2015, ICLR), in logarithms; the last ones are smaller."""
MIN_LOG_NOISE = -4.0
"""Least logarithm of the noise of a label, in units of its spread."""
JITTER = 1e-5
NOISE_FACTORS = 10.0 ** np.arange(-1.0, 2.1, 0.5)
"""Times the noise that the likelihood finds: the folds decide."""
LENGTH_FACTOR = 2.0
"""Lengths of the exponential kernel over those of the squared exponential."""
LINEAR_SIZE = 0.5
"""Size of the linear term, in units of a label's spread."""


@dataclass(frozen=True)
class Kernel:
    """Squared exponential kernel: ``log_length`` [D], ``noise`` variance [L] in units of a label's
    variance over that of the kernel.
    """

    log_length: Array
    noise: Array

    def between(self, one: Array, other: Array) -> Array:
        """[N,M] of stars [N,D] and [M,D]."""
        a, b = one / np.exp(self.log_length), other / np.exp(self.log_length)
        squares = np.square(a).sum(axis=1)[:, None] + np.square(b).sum(axis=1)
        return self.shape(np.minimum(a @ b.T - 0.5 * squares, 0.0))

    def shape(self, exponent: Array) -> Array:
        """The kernel from minus half of the squared distance."""
        return np.asarray(np.exp(exponent))


@dataclass(frozen=True)
class ExponentialKernel(Kernel):
    """Exponential kernel (Matern 1/2): its functions have kinks where a survey's have."""

    @classmethod
    def like(cls, kernel: Kernel) -> "ExponentialKernel":
        """With lengths in proportion to those of a squared exponential."""
        return cls(kernel.log_length + np.log(LENGTH_FACTOR), kernel.noise)

    def shape(self, exponent: Array) -> Array:
        return np.asarray(np.exp(-np.sqrt(-2.0 * exponent)))


def fit_kernel(seen: Array, target: Array, rng: np.random.Generator) -> Kernel:
    """Lengths that all labels share and the noise of each, by the marginal likelihood.

    ``seen`` [N,D] of order one, ``target`` [N,L] of unit variance, without gaps.
    """
    some = rng.permutation(len(seen))[:MAX_LIKELIHOOD_STARS]
    width, labels = seen.shape[1], target.shape[1]
    start = np.full(width, np.log(1.5 * np.sqrt(width)))
    values = np.concatenate([start, np.zeros(2), np.full(labels, -2.0)])
    mean, square = np.zeros_like(values), np.zeros_like(values)
    for step in range(1, LIKELIHOOD_STEPS + 1):
        slope = _slope(values, seen[some], target[some])
        mean = 0.9 * mean + 0.1 * slope
        square = 0.99 * square + 0.01 * slope**2
        size = STEP * min(1.0, 2 * (1 - step / (LIKELIHOOD_STEPS + 1)))
        root = np.sqrt(square / (1 - 0.99**step)) + 1e-8
        values = values - size * mean / (1 - 0.9**step) / root
        values[width + 2 :] = np.maximum(values[width + 2 :], MIN_LOG_NOISE)
    return Kernel(values[:width], np.exp(2 * values[width + 2 :] - 2 * values[width]))


def _slope(values: Array, x: Array, y: Array) -> Array:
    """Derivatives of the negative logarithm of the likelihood by the logarithms of the lengths
    [D], of the sizes of the exponential and the linear kernel, and of the noise [L].

    Rasmussen & Williams (2006), Gaussian Processes for Machine Learning, eq. 5.9.
    """
    width = x.shape[1]
    a = x / np.exp(values[:width])
    size, linear = np.exp(2 * values[width : width + 2])
    noise = np.exp(2 * values[width + 2 :])
    products = a @ a.T
    squares = np.diagonal(products)
    exponential = size * np.exp(np.minimum(products - 0.5 * (squares[:, None] + squares), 0.0))
    kernel = exponential + linear * products + 1.0
    whole, by_noise = np.zeros_like(kernel), np.zeros(len(noise))
    for column, variance in enumerate(noise):
        inverse = np.linalg.inv(kernel + (variance + JITTER) * np.eye(len(x)))
        pulled = inverse @ y[:, column]
        half = 0.5 * (inverse - np.outer(pulled, pulled))
        by_noise[column] = 2 * variance * np.trace(half)
        whole += half
    weighted = whole * exponential
    by_length = 2 * (weighted.sum(axis=1) @ a**2 - (a * (weighted @ a)).sum(axis=0))
    by_length -= 2 * linear * (a * (whole @ a)).sum(axis=0)
    by_size = [2 * weighted.sum(), 2 * linear * (whole * products).sum()]
    return np.concatenate([by_length, by_size, by_noise])


def fit_process(
    seen: Array, target: Array, fold: Array, kernel: Kernel, inducing: Array
) -> tuple[FoldRegression, dict[str, Array]]:
    """The process on ``seen`` [N,D], and the arrays [U,L], [D,L], [L] that evaluate it.

    ``target`` [N,L] may have gaps; ``inducing`` [U,D].
    """
    factor = np.linalg.cholesky(kernel.between(inducing, inducing) + JITTER * np.eye(len(inducing)))
    inverse = np.linalg.inv(factor).T
    columns = [kernel.between(seen, inducing) @ inverse, seen / np.exp(kernel.log_length)]
    linear = np.full(seen.shape[1], LINEAR_SIZE)
    scale = np.concatenate([np.ones(len(inducing)), linear])
    penalties = np.median(kernel.noise) * NOISE_FACTORS
    found = fit_folds(np.concatenate(columns, axis=1), target, fold, penalties, scale)
    arrays = {
        "weights": inverse @ found.weights[: len(inducing)],
        "linear": found.weights[len(inducing) :],
        "offset": found.offset,
    }
    return found, arrays


def farthest(seen: Array, kernel: Kernel, most: int) -> Array:
    """Row numbers of the stars that the others are least like, one by one: a pivoted Cholesky
    decomposition of the kernel, after which those left say little more.
    """
    rest = np.ones(len(seen))
    rows: list[int] = []
    columns = np.zeros((len(seen), most))
    for number in range(min(most, len(seen))):
        row = int(rest.argmax())
        if rest[row] < 10 * JITTER:
            break
        column = kernel.between(seen, seen[row : row + 1])[:, 0]
        column -= columns[:, :number] @ columns[row, :number]
        columns[:, number] = column / np.sqrt(rest[row])
        rest = rest - np.square(columns[:, number])
        rows.append(row)
    return np.array(rows, np.int64)
