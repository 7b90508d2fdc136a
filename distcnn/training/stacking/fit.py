"""Fit of the regressions and weights of a package to its labelled stars outside the test split.

Every number that decides something (penalties, weights) is taken from stars that the fit in
question has not seen: the stars are cut into folds, and each is predicted from the others. What
the label of a star outside its fold is, weights included, is what errors are calibrated on.

Legend: N star, S scalar feature, L label, J method (the ensemble first), T knot in log S/N.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from distcnn.arrays import Array
from distcnn.config import StackingConfig
from distcnn.events import Listener, silent, telling
from distcnn.model import Network
from distcnn.model.scaling import BranchInputs
from distcnn.model.stacking import ENSEMBLE, Parts, hardened, lacks_nothing
from distcnn.stats import robust_std
from distcnn.training.data.labelled import Labelled
from distcnn.training.data.tensors import SCALED_AT_ONCE
from distcnn.training.stacking.recentring import recentred
from distcnn.training.stacking.regressions import (
    FittedRegressions,
    Regressions,
    fit_regressions,
)
from distcnn.training.stacking.weights import (
    Judged,
    cross_fitted,
    earning_methods,
    fit_weights,
    hats,
    place_knots,
)

STAGE = "regressions"
MIN_STARS = 150
"""Labelled stars that lack nothing, below which there is nothing to choose a method by."""
MIN_JUDGED_STARS = 50
"""Of these, those that the ensemble has not seen; for each label too."""


@dataclass(frozen=True)
class OutOfFoldStars:
    """N labelled stars outside the test split, and what the ensemble says of them unseen.

    Attributes
    ----------
    fold : int [N].
    label : [N,L] of members that have not seen the star, label units; NaN = all have.
    copy : bool [N], faint copies of stars; None = there are none.
    """

    stars: Labelled
    fold: Array
    label: Array
    copy: Array | None = None


@dataclass(frozen=True)
class FittedStacking:
    """What was found.

    Attributes
    ----------
    parts : arrays of ``model.stacking.Stacking``.
    label : [N,L] the stacked label of every star, from fits and weights that have not seen it;
        the ensemble's where a star lacks something, NaN where that has none.
    share : [N,L] weight of the ensemble in it.
    summary : for the manifest.
    """

    parts: Parts
    label: Array
    share: Array
    summary: dict[str, Any]


def fit_stacking(
    network: Network,
    given: OutOfFoldStars,
    config: StackingConfig,
    seed: int,
    listener: Listener = silent,
) -> FittedStacking | None:
    """Fit regressions on all stars, and weights on those that the ensemble has not seen.

    ``network`` : for its scalings. ``listener`` hears of each method that is fitted.

    Returns
    -------
    None where too few stars lack no input, no method is asked for, or none takes enough off the
    scatter of the ensemble (``weights.EARNED``) to be worth its time.
    """
    scaled = _Scaled.of(network, given)
    if not config.methods or scaled.complete.sum() < MIN_STARS:
        return None
    with telling(listener, STAGE, len(config.methods), "methods") as advance:
        fitted = fit_regressions(network, scaled.chosen, config, seed, advance)
    judged = scaled.judged(fitted)
    if judged.usable.sum() < MIN_JUDGED_STARS:
        return None
    everyone, methods = judged, (ENSEMBLE, *fitted.out_of_fold)
    chosen = earning_methods(judged, MIN_JUDGED_STARS)
    if len(chosen) == 1:
        return None
    judged, kept = judged.only(chosen), tuple(methods[place] for place in chosen)
    weights = _weights(judged)
    stacked, share = _out_of_fold(judged)
    rows = np.flatnonzero(judged.usable)
    # Of faint copies networks may be wrong by more, which is no matter of the label alone.
    copy = np.zeros(len(judged.usable), bool) if given.copy is None else given.copy
    target = np.where(copy[rows, None], np.nan, judged.target[rows])
    mean, stacked[rows] = recentred(stacked[rows], target, judged.fold[rows])
    found = {"knots": judged.knots, "weights": weights, "required": scaled.required}
    found |= {"nodes": mean.nodes, "mean_residual": mean.residual}
    parts = {name: part for name, part in fitted.parts.items() if name in ("features", *kept)}
    parts["weights"] = scaled.range | found
    label, all_ensemble = given.label.copy(), np.ones_like(given.label)
    label[rows], all_ensemble[rows] = _physical(network, stacked[rows]), share[rows]
    summary = {
        "methods": list(kept),
        "stars": int(scaled.complete.sum()),
        "knots": np.round(judged.knots, 4).tolist(),
        "weights": np.round(weights, 4).tolist(),
        "labels": _scores(everyone, stacked, methods),
    }
    return FittedStacking(parts, label, all_ensemble, summary)


@dataclass(frozen=True)
class _Scaled:
    """The stars as networks see them, and their labels [N,L] in scaled units.

    ``chosen``: the ``complete`` [N] ones.
    """

    given: OutOfFoldStars
    target: Array
    label: Array
    complete: Array
    required: Array
    chosen: Regressions

    @classmethod
    def of(cls, network: Network, given: OutOfFoldStars) -> "_Scaled":
        branches, names = _branches(network, given.stars), network.inputs.names
        indicators = np.array([name.startswith("has_") for name in names], bool)
        scalars = branches["scalars"].numpy()
        # What fewer than half of the stars have cannot be asked of all.
        required = indicators & (scalars.mean(axis=0) > 0.5)
        needed = torch.from_numpy(required.astype(np.float32))
        inputs = network.inputs
        raw = inputs.feature_centre + inputs.feature_scale * hardened(branches["scalars"])
        complete = lacks_nothing(branches["scalars"], raw, names, needed).numpy()
        target = _in_units(network, given.stars.label)
        label = _in_units(network, given.label)
        chosen = Regressions(
            {name: tensor[torch.from_numpy(complete)] for name, tensor in branches.items()},
            target[complete],
            given.fold[complete],
        )
        return cls(given, target, label, complete, required, chosen)

    @property
    def range(self) -> dict[str, Array]:
        """Lowest and highest label [L] of the complete stars."""
        known = np.where(np.isfinite(self.target), self.target, np.nan)[self.complete]
        with np.errstate(all="ignore"):
            return {"low": np.nanmin(known, axis=0), "high": np.nanmax(known, axis=0)}

    def judged(self, fitted: FittedRegressions) -> Judged:
        """Everything that weights are fitted to."""
        estimates = np.full((*self.target.shape, 1 + len(fitted.out_of_fold)), np.nan)
        estimates[..., 0] = self.label
        limits = self.range
        for place, values in enumerate(fitted.out_of_fold.values(), start=1):
            estimates[self.complete, :, place] = np.clip(values, limits["low"], limits["high"])
        usable = self.complete & np.isfinite(self.label).all(axis=1)
        snr = self.given.stars.inputs["snr"][:, 0].astype(np.float64)
        log_snr = np.log10(np.where(snr > 0, snr, np.nan))
        spectra = self.given.stars.inputs["flux"].shape[1] > 0
        knots = place_knots(log_snr[usable]) if spectra else np.zeros(1)
        return Judged(
            estimates,
            self.target,
            hats(log_snr, knots),
            knots,
            self.given.fold,
            usable,
        )


def _branches(network: Network, stars: Labelled) -> BranchInputs:
    with torch.inference_mode():
        parts = [network.inputs(batch) for batch in stars.inputs.batches(SCALED_AT_ONCE)]
    return {name: torch.cat([part[name] for part in parts]) for name in parts[0]}


def _in_units(network: Network, label: Array) -> Array:
    """Scaled labels [N,L]."""
    scaling = network.labels
    scaled = scaling.transformed(torch.from_numpy(label.astype(np.float64))) - scaling.centre
    return (scaled / scaling.scale).double().numpy()


def _physical(network: Network, scaled: Array) -> Array:
    tensor = torch.from_numpy(scaled.astype(np.float32))
    return np.asarray(network.labels(tensor, torch.ones_like(tensor))[0].numpy())


def _weights(judged: Judged) -> Array:
    """[T,J,L]."""
    labels = [fit_weights(judged.of_label(k), MIN_JUDGED_STARS) for k in judged.labels]
    return np.stack(labels, axis=2)


def _out_of_fold(judged: Judged) -> tuple[Array, Array]:
    """Stacked labels and the ensemble's share in them [N,L], by the weights of other folds."""
    columns = [cross_fitted(judged.of_label(k), MIN_JUDGED_STARS) for k in judged.labels]
    label, share = (np.stack(part, axis=1) for part in zip(*columns, strict=True))
    return label, share


def _scores(judged: Judged, stacked: Array, methods: tuple[str, ...]) -> list[dict[str, Any]]:
    """Scatter of what every method says of stars it has not seen, in scaled units: rows by label
    with std and 1.48 MAD by method.
    """
    rows: list[dict[str, Any]] = []
    for column in range(judged.target.shape[1]):
        known = judged.usable & np.isfinite(judged.target[:, column])
        answers = dict(zip(methods, judged.estimates[:, column].T, strict=True))
        rows.append({})
        for name, values in (answers | {"stacked": stacked[:, column]}).items():
            residual = (values - judged.target[:, column])[known]
            residual = residual[np.isfinite(residual)]
            if residual.size:
                found = {"std": residual.std(), "mad": robust_std(residual)}
                rows[-1][name] = {kind: round(float(v), 5) for kind, v in found.items()}
    return rows
