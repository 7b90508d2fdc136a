"""Gaussian process on principal components: a smooth regression that knows its errors.

One process per label, with a squared-exponential kernel that has a length for every column, of
what a linear regression leaves. Lengths and noise are those of greatest likelihood among
``TUNED_STARS`` stars; the process then knows ``MAX_STARS``, for its cost grows with their third
power. (scikit-learn computes the slopes of the likelihood one length at a time, which for fifty
columns takes a minute per label; all at once they take a second.)

Legend: N star, M star that a process knows, F column.
"""

from dataclasses import dataclass

import numpy as np
from scipy.linalg import cho_solve, cholesky, solve_triangular
from scipy.optimize import minimize
from sklearn.linear_model import Ridge

from distcnn.arrays import Array
from distcnn.baselines.base import Estimate, Inputs, LabelledStars
from distcnn.baselines.features import CompressedTable
from distcnn.baselines.steps import UNTOLD, Steps

TUNED_STARS, MAX_STARS = 500, 2_000
TUNING_STEPS = 60
LOG_LIMITS = (-7.0, 7.0)
"""Of the logarithms of lengths and variances, both without unit."""
MIN_STARS_PER_LABEL = 10
CLIP_SIGMA = 5.0
READ_STARS = 2_000


@dataclass(frozen=True)
class Kernel:
    """``length`` [F]; variances of ``signal`` and ``noise``."""

    length: Array
    signal: float
    noise: float

    @classmethod
    def of(cls, logs: Array) -> "Kernel":
        """From the logarithms of lengths, signal and noise [F + 2]."""
        return cls(np.exp(logs[:-2]), float(np.exp(logs[-2])), float(np.exp(logs[-1])))

    def __call__(self, one: Array, other: Array) -> Array:
        """Covariance [N, M] of the function at columns [N, F] and [M, F], without noise."""
        a, b = one / self.length, other / self.length
        square = np.square(a).sum(axis=1)[:, None] + np.square(b).sum(axis=1) - 2 * a @ b.T
        return np.asarray(self.signal * np.exp(-0.5 * np.maximum(square, 0.0)))


def tuned_kernel(table: Array, residual: Array) -> Kernel:
    """The kernel of greatest marginal likelihood of residuals [N] without unit."""
    count = table.shape[1]
    start = np.concatenate([np.full(count, 0.5 * np.log(4 * count)), [-0.7, -0.7]])
    found = minimize(
        minus_log_likelihood,
        start,
        (table, residual),
        jac=True,
        method="L-BFGS-B",
        bounds=[LOG_LIMITS] * len(start),
        options={"maxiter": TUNING_STEPS},
    )
    return Kernel.of(found.x)


def minus_log_likelihood(logs: Array, table: Array, residual: Array) -> tuple[float, Array]:
    """Minus the logarithm of the marginal likelihood, and its slopes by ``logs`` [F + 2]."""
    kernel = Kernel.of(logs)
    signal = kernel(table, table)
    covariance = signal + kernel.noise * np.eye(len(table))
    factor = cholesky(covariance, lower=True)
    inverse = cho_solve((factor, True), np.eye(len(table)))
    solved = inverse @ residual
    value = 0.5 * float(residual @ solved) + float(np.log(np.diag(factor)).sum())
    # d value / d covariance; a length changes the covariance by signal * distance^2 / length^2.
    slope = 0.5 * (inverse - np.outer(solved, solved))
    product = slope * signal
    columns = table / kernel.length
    rows = product.sum(axis=1) @ np.square(columns)
    lengths = 2 * (rows - (columns * (product @ columns)).sum(axis=0))
    return value, np.concatenate([lengths, [product.sum()], [kernel.noise * np.trace(slope)]])


@dataclass(frozen=True)
class Process:
    """One label: a linear regression, and a Gaussian process of its residuals.

    ``table`` [M, F] known stars; ``scale``, all residuals are in units of it; ``factor`` [M, M],
    Cholesky factor of the covariance of the known stars; ``solved`` [M], its inverse times their
    residuals.
    """

    linear: Ridge
    scale: float
    kernel: Kernel
    table: Array
    factor: Array
    solved: Array

    @classmethod
    def fit(cls, table: Array, label: Array, seed: int) -> "Process":
        """Of columns [N, F] without unit or gaps, and one label [N] without gaps."""
        linear = Ridge(alpha=1.0).fit(table, label)
        left = label - linear.predict(table)
        scale = float(left.std()) or 1.0
        some = np.random.default_rng(seed).permutation(len(label))[:MAX_STARS]
        columns, residual = table[some], left[some] / scale
        kernel = tuned_kernel(columns[:TUNED_STARS], residual[:TUNED_STARS])
        covariance = kernel(columns, columns) + kernel.noise * np.eye(len(columns))
        factor = cholesky(covariance, lower=True)
        return cls(linear, scale, kernel, columns, factor, cho_solve((factor, True), residual))

    def predict(self, table: Array) -> tuple[Array, Array]:
        """Label and standard error [N]; the noise that the process has found is part of it."""
        cross = self.kernel(table, self.table)
        explained = np.square(solve_triangular(self.factor, cross.T, lower=True)).sum(axis=0)
        variance = np.maximum(self.kernel.signal - explained, 0.0) + self.kernel.noise
        label = self.linear.predict(table) + self.scale * (cross @ self.solved)
        return label, self.scale * np.sqrt(variance)


@dataclass(frozen=True)
class PrincipalComponentProcess:
    """Processes per label; None where a label had too few stars.

    ``centre``, ``width`` [F]: of the columns of ``table`` in training.
    """

    table: CompressedTable
    centre: Array
    width: Array
    processes: tuple[Process | None, ...]

    @classmethod
    def fit(
        cls,
        training: LabelledStars,
        validation: LabelledStars,
        *,
        seed: int = 0,
        steps: Steps = UNTOLD,
    ) -> "PrincipalComponentProcess":
        """Fit every label; nothing is chosen on the validation split."""
        table = CompressedTable.fit(training.inputs, seed)
        columns = table(training.inputs)
        known = np.isfinite(columns)
        count = np.maximum(known.sum(axis=0), 1)
        centre = np.where(known, columns, 0.0).sum(axis=0) / count
        width = np.sqrt(np.where(known, np.square(columns - centre), 0.0).sum(axis=0) / count)
        bare = cls(table, centre, np.where(width > 0, width, 1.0), ())
        filled = bare._columns(training.inputs)
        processes = []
        for label in steps.over("processes", training.label.T, "labels"):
            good = np.isfinite(label)
            enough = good.sum() >= MIN_STARS_PER_LABEL
            processes.append(Process.fit(filled[good], label[good], seed) if enough else None)
        return cls(table, bare.centre, bare.width, tuple(processes))

    def predict(self, inputs: Inputs) -> Estimate:
        """Labels and errors of stars, as the process states them."""
        columns = self._columns(inputs)
        out = np.full((2, len(columns), len(self.processes)), np.nan, np.float32)
        for number, process in enumerate(self.processes):
            for start in range(0, len(columns) if process else 0, READ_STARS):
                rows = slice(start, start + READ_STARS)
                assert process is not None
                out[0, rows, number], out[1, rows, number] = process.predict(columns[rows])
        return Estimate(out[0], out[1])

    def _columns(self, inputs: Inputs) -> Array:
        """[N, F] without unit, bounded, the mean where one is missing."""
        columns = (self.table(inputs) - self.centre) / self.width
        bounded = np.clip(np.nan_to_num(columns, nan=0.0), -CLIP_SIGMA, CLIP_SIGMA)
        return np.asarray(bounded, float)
