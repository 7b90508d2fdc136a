"""Published labels against simple methods on the same stars and inputs, with bootstrap errors.

Simple methods are ridge regression, gradient boosting (scikit-learn's histogram trees) and PCA with
a Gaussian process, as ``distcnn.baselines`` has them. They are fitted to every labelled star
outside the test split (ridge chooses its penalty on the validation split) and see what the network
sees: the logarithm of the flux where it takes that, and the logarithm of temperatures. Where a
survey has no parallax errors 0.02 mas are assumed, so that they have absolute magnitudes.

Legend: N star, L label.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from distcnn.baselines.base import LabelledStars
from distcnn.baselines.registry import choose_baselines
from distcnn.config import SplitConfig
from distcnn.schema import LABELS
from distcnn.stats import robust_std
from distcnn.survey.split import Split, assign_split

Array = np.ndarray[Any, Any]
SIMPLE = ("ridge", "boosting", "gaussian_process")
INPUTS = ("flux", "flux_error", "snr", "xp", "photometry", "parallax", "parallax_error")
PARALLAX_ERROR_MAS = 0.02
RESAMPLES, INTERVAL = 1000, (0.025, 0.975)
STATISTICS = {"std": np.std, "mad": robust_std}


def simple_labels(
    arrays: Mapping[str, Array], labels: Sequence[str], split: SplitConfig, *, log_flux: bool
) -> dict[str, Array]:
    """Labels [N,L] by method; NaN for stars outside the test split.

    ``arrays``: variables of a survey with ``source_id`` and ``label`` [N,L].
    """
    part = assign_split(arrays["source_id"], split)
    known, test = np.isfinite(arrays["label"]).any(axis=1), part == Split.TEST
    rows = np.flatnonzero(known & ~test)
    learned = {name: arrays[name][rows] for name in INPUTS if name in arrays}
    asked = {name: arrays[name][test] for name in INPUTS if name in arrays}
    stopping = part[rows] == Split.VALIDATION
    answers = fit_simple(learned, arrays["label"][rows], stopping, asked, labels, log_flux=log_flux)
    found = {}
    for name, label in answers.items():
        found[name] = np.full(arrays["label"].shape, np.nan)
        found[name][test] = label
    return found


def fit_simple(
    learned: Mapping[str, Array],
    label: Array,
    stopping: Array,
    asked: Mapping[str, Array],
    labels: Sequence[str],
    *,
    log_flux: bool = False,
) -> dict[str, Array]:
    """Labels [M,L] by method of the stars ``asked``, from inputs and labels [N,L] of others.

    ``stopping`` [N]: those by which ridge chooses its penalty; the other methods learn from all.
    """
    inputs, others = (_inputs(arrays, log_flux=log_flux) for arrays in (learned, asked))
    hot = np.array([name in LABELS and LABELS[name].unit == "K" for name in labels])
    target = label.astype(np.float64)
    target = np.where(hot, np.log(np.where(hot, np.maximum(target, 1.0), 1.0)), target)

    def stars(rows: Array) -> LabelledStars:
        return LabelledStars({name: v[rows] for name, v in inputs.items()}, target[rows])

    found = {}
    for baseline in choose_baselines(SIMPLE):
        training = stars(~stopping if baseline.name == "ridge" else np.ones(len(target), bool))
        answer = baseline.fit(training, stars(stopping)).predict(others).label
        found[baseline.name] = np.where(hot, np.exp(np.minimum(answer, 20.0)), answer)
    return found


def _inputs(arrays: Mapping[str, Array], *, log_flux: bool) -> dict[str, Array]:
    inputs = {name: arrays[name] for name in INPUTS if name in arrays}
    if log_flux and "flux" in inputs:
        inputs["flux"] = np.log(np.maximum(inputs["flux"], 0.01))
    if "parallax" in inputs:
        error = inputs.get("parallax_error", np.full_like(inputs["parallax"], np.nan))
        if not np.isfinite(error).any():
            error = np.full_like(error, PARALLAX_ERROR_MAS)
        inputs["parallax_error"] = error
    return inputs


def against(
    own: Array, simple: Mapping[str, Array], truth: Array, *, seed: int = 0
) -> dict[str, Any]:
    """Scatter of one label [N] and of the same by simple methods; how they compare.

    Returns
    -------
    ``stars``, ``std``, ``mad`` (1.48 MAD); ``simple``: method -> these; and by statistic
    ``ratio_std``, ``ratio_mad``: own over the best simple method, with its name and the 95 %
    interval of the ratio over resampled stars; ``verdict``: "better" or "worse" where the
    interval lies on one side of 1, else "tie".
    """
    good = np.isfinite(own) & np.isfinite(truth)
    for label in simple.values():
        good &= np.isfinite(label)
    residual = {name: (label - truth)[good] for name, label in simple.items()}
    mine = (own - truth)[good]
    found: dict[str, Any] = {"stars": int(good.sum()), **_scatter(mine)}
    found["simple"] = {name: _scatter(values) for name, values in residual.items()}
    rng = np.random.default_rng(seed)
    picks = rng.integers(0, len(mine), (RESAMPLES, len(mine)))
    for name, statistic in STATISTICS.items():
        best = min(residual, key=lambda method: found["simple"][method][name])
        ratios = [statistic(mine[rows]) / statistic(residual[best][rows]) for rows in picks]
        low, high = (float(value) for value in np.quantile(ratios, INTERVAL))
        ratio = float(statistic(mine) / statistic(residual[best]))
        verdict = "better" if high < 1 else "worse" if low > 1 else "tie"
        found[f"ratio_{name}"] = {
            "best": best,
            "ratio": ratio,
            "low": low,
            "high": high,
            "verdict": verdict,
        }
    return found


def _scatter(residual: Array) -> dict[str, float]:
    return {name: float(statistic(residual)) for name, statistic in STATISTICS.items()}


def words(found: Mapping[str, Any]) -> str:
    """The two comparisons of a row: ratio, interval, the best simple method, verdict."""
    parts = []
    for name in STATISTICS:
        r = found[f"ratio_{name}"]
        parts.append(
            f"{name} {r['ratio']:.3f} ({r['low']:.3f}-{r['high']:.3f}) of {r['best']}: "
            f"{r['verdict']}"
        )
    return "; ".join(parts)
