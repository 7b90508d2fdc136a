"""Import: from networks trained elsewhere and a labelled survey to a package.

Nothing is trained. What such a network lacks is fitted on the labelled stars: how large its
errors are and how they go together, limits, novelty and calibration, by the same parts of the
split as for our own networks. The stars must be others than those it was trained on, or its errors
come out too small; the file does not say which those were, ``imported.trained_on`` may.
"""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

from distcnn import __version__, hashing
from distcnn.arrays import Array
from distcnn.config import ImportedConfig, ImportedNetwork, QualityConfig, TrainConfig
from distcnn.errors import ConfigError, InputError, TrainingError, UsageError
from distcnn.events import Listener, Notice, StageEnded, StageStarted, silent
from distcnn.location import Address, Location
from distcnn.model import InputSpec, Network, Package, build_network, predict_members
from distcnn.model.imported.keras_file import read_keras
from distcnn.model.imported.keras_network import Translation, translate
from distcnn.model.imported.scaling import ImportedScaling, fit_missing
from distcnn.model.networks.covariance import MIN_SIGMA, pairs
from distcnn.model.networks.published import WithConstantNoise
from distcnn.stats import robust_std
from distcnn.survey import Store
from distcnn.survey.split import Split
from distcnn.training.calibration_stars import CalibrationStars
from distcnn.training.data.labelled import (
    MAX_STARS_IN_MEMORY,
    Labelled,
    read_labelled,
    summarise_split,
)
from distcnn.training.data.trained_stars import refuse_trained_stars
from distcnn.training.evaluate import ensemble_sizes, evaluate_package
from distcnn.training.finalise import calibrate_and_write, tell_uncalibrated

STAGE = "import"
MAX_CORRELATION = 0.99
_UNKNOWN_STARS = (
    "the errors hold if the network was trained on none of these labelled stars; its file does not "
    "say, imported.trained_on can"
)


@dataclass(frozen=True)
class ImportSummary:
    """What an import came to. ``results``: rows per label and S/N bin on the test split."""

    package: Path | Location
    digest: str
    members: int
    stars: dict[str, int]
    seconds: float
    results: list[dict[str, Any]] = field(default_factory=list)


def import_package(
    package: Address,
    files: Sequence[Path],
    survey: Address,
    meaning: ImportedConfig,
    *,
    train: TrainConfig,
    quality: QualityConfig,
    listener: Listener = silent,
) -> ImportSummary:
    """Take networks of Keras over as the members of a package, calibrated on a labelled survey.

    Parameters
    ----------
    files : one per member; all of the same layers.
    survey : labelled stars that none of them was trained on; of ``train`` only the split counts.

    Raises
    ------
    FileBroken, InputError : a file cannot be read, has layers that are not known here (they are
        named), or other layers than the first.
    ConfigError : ``imported`` does not say what the network takes and gives.
    TrainingError : the survey has other pixels or no such labels.
    UsageError : the package exists.
    """
    clock = time.perf_counter()
    place = Location.parse(package)
    if place.exists():
        raise UsageError(f"{place} exists", expected="a new name", cure="Or remove it first.")
    store = Store.open(survey, "survey")
    translated = [_translated(file, meaning) for file in files]
    config = _config(translated, files, meaning, train)
    spec = _spec(store, config)
    if meaning.trained_on is not None:
        refuse_trained_stars(store, spec, config.split, meaning.trained_on)
    listener(StageStarted(STAGE, len(files), "networks"))
    split = summarise_split(store, spec, config.split)
    networks = [_network(spec, config, each) for each in translated]
    _fit(networks, store, spec, config)
    held_out = read_labelled(store, spec, config.split, Split.CALIBRATION, most=MAX_STARS_IN_MEMORY)
    made = calibrate_and_write(
        place,
        networks,
        config,
        CalibrationStars.held_out(networks, held_out),
        store=store,
        split_summary=split,
        settings=quality,
        curves=[_origin(n, file) for n, file in enumerate(files)],
        more={
            "ensemble_size": ensemble_sizes(networks, held_out, quality, spec.labels),
            "imported": _provenance(files, translated, meaning.trained_on),
            "fingerprint": {"data": split.data, "distcnn_version": __version__},
        },
        listener=listener,
    )
    if split.counts["test"]:
        evaluate_package(made, store, config)
    if meaning.trained_on is None:
        listener(Notice(_UNKNOWN_STARS))
    tell_uncalibrated(made, listener)
    return _summary(made, split.counts, time.perf_counter() - clock, listener)


def _translated(file: Path, meaning: ImportedConfig) -> Translation:
    if not meaning.outputs:
        raise ConfigError(
            "imported.outputs is empty",
            expected="label, low and high of every output of the network",
            cure="conf/rave2020_keras.yaml is an example.",
        )
    try:
        found = translate(read_keras(file), len(meaning.scalars))
    except InputError as error:
        named = str(file) in error.problem
        problem = error.problem if named else f"{file}: {error.problem}"
        raise type(error)(problem, expected=error.expected, cure=error.cure) from None
    met = found.layers[-1].shape[0]
    if met != len(meaning.outputs):
        raise ConfigError(
            f"{file} gives {met} numbers, imported.outputs names {len(meaning.outputs)}",
            expected="one entry for each, with label: null for those that are not kept",
        )
    return found


def _config(
    translated: Sequence[Translation],
    files: Sequence[Path],
    meaning: ImportedConfig,
    train: TrainConfig,
) -> TrainConfig:
    first = translated[0]
    for file, other in zip(files, translated, strict=True):
        if other.layers != first.layers:
            raise InputError(
                f"{file} has other layers than {files[0]}",
                expected="members of one ensemble, which differ in their weights",
                cure="Import it as a package of its own.",
            )
    network = ImportedNetwork(
        # Where the table of stars is on this machine is nobody's business.
        meaning=meaning.model_copy(update={"trained_on": None}),
        layers=first.layers,
        spectrum=any(layer.kind == "spectrum" for layer in first.layers),
        xp=False,
        photometry=bool(meaning.scalars),
    )
    return train.model_copy(
        update={
            "network": network,
            "labels": meaning.labels,
            "members": len(files),
            "keep": 1.0,
            # Nothing is trained here, so there are no folds.
            "split": train.split.held_out(),
        }
    )


def _spec(store: Store, config: TrainConfig) -> InputSpec:
    assert isinstance(config.network, ImportedNetwork)
    known = store.coordinate("label").tolist() if "label" in store.variables else []
    missing = [label for label in config.labels or () if label not in known]
    if known and missing:
        raise TrainingError(
            f"{store.location.name} has no label {', '.join(missing)}",
            expected="reference values of every label of imported.outputs",
            cure="Set label: null for outputs that cannot be calibrated; they are left out.",
        )
    spec = InputSpec.of_survey(store, config.network, config.labels)
    takes = [layer for layer in config.network.layers if layer.kind == "spectrum"]
    pixels = takes[0].shape[0] if takes else 0
    if pixels != spec.pixels:
        raise TrainingError(
            f"{store.location.name} has spectra of {spec.pixels} pixels",
            expected=f"{pixels}, as the network was trained on",
            cure="Ingest it on the grid of the network (ingest.prepare.target).",
        )
    return spec


def _network(spec: InputSpec, config: TrainConfig, found: Translation) -> Network:
    network = build_network(spec, config.network, seed=0)
    wrapper = network.layers
    assert isinstance(wrapper, WithConstantNoise)
    state = {f"steps.{name}": torch.from_numpy(v.copy()) for name, v in found.weights.items()}
    wrapper.network.load_state_dict(state)
    return network.eval().requires_grad_(False)


def _fit(networks: Sequence[Network], store: Store, spec: InputSpec, config: TrainConfig) -> None:
    """Missing inputs by the stars of training; errors, which no network of Keras tells, by the
    residuals of those of validation.
    """
    train = read_labelled(store, spec, config.split, Split.TRAIN, most=MAX_STARS_IN_MEMORY)
    for network in networks:
        scaling: object = network.inputs
        assert isinstance(scaling, ImportedScaling)
        fit_missing(scaling, train.inputs)
    seen = read_labelled(store, spec, config.split, Split.VALIDATION, most=MAX_STARS_IN_MEMORY)
    noise, entries = _errors(networks, seen)
    for network in networks:
        wrapper = network.layers
        assert isinstance(wrapper, WithConstantNoise)
        wrapper.noise.copy_(torch.from_numpy(noise))
        wrapper.pairs.copy_(torch.from_numpy(entries))


def _errors(networks: Sequence[Network], stars: Labelled) -> tuple[Array, Array]:
    """What the head for errors is given, so that it says what the residuals are: [L] and [K]."""
    scale = networks[0].labels.scale.numpy()
    residual = (predict_members(networks, stars.inputs).label - stars.label) / np.abs(scale)
    sigma = np.array([_spread(column) for column in residual.T])
    noise = np.maximum(sigma - MIN_SIGMA, MIN_SIGMA)
    lower = np.linalg.cholesky(_correlation(residual / sigma))
    free = [lower[row, column] / lower[row, row] for row, column in pairs(len(sigma))]
    # The inverse of softplus.
    raw = noise + np.log(-np.expm1(-noise))
    return raw.astype(np.float32), np.array(free, np.float32)


def _spread(values: Array) -> float:
    good = values[np.isfinite(values)].astype(np.float64)
    return max(float(np.hypot(robust_std(good), np.median(good))), 2 * MIN_SIGMA)


def _correlation(pulls: Array) -> Array:
    """Correlation matrix [L,L] of residuals in units of their spread [N,L], outliers cut."""
    cut = np.clip(np.nan_to_num(pulls.astype(np.float64)), -3, 3)
    size = np.sqrt(np.square(cut).mean(axis=0))
    size[size == 0] = 1.0
    matrix = (cut / size).T @ (cut / size) / len(cut)
    matrix = np.clip(matrix, -MAX_CORRELATION, MAX_CORRELATION)
    np.fill_diagonal(matrix, 1.0)
    # A little of the identity keeps it positive where stars are few.
    return np.asarray(MAX_CORRELATION * matrix + (1 - MAX_CORRELATION) * np.eye(len(matrix)))


def _provenance(
    files: Sequence[Path], translated: Sequence[Translation], trained_on: Path | None
) -> dict[str, Any]:
    return {
        "files": [file.name for file in files],
        "digests": [hashing.of_bytes(file.read_bytes()) for file in files],
        "format": f"Keras {translated[0].version}".strip(),
        "parameters": sum(values.size for values in translated[0].weights.values()),
        "trained_on": None if trained_on is None else hashing.of_file(trained_on),
    }


def _origin(number: int, file: Path) -> Mapping[str, Any]:
    return {"member": number, "digest": hashing.of_bytes(file.read_bytes()), "epochs": []}


def _summary(
    made: Package, stars: dict[str, int], seconds: float, listener: Listener
) -> ImportSummary:
    facts = {"members": made.size, "calibration": stars["calibration"], "test": stars["test"]}
    listener(StageEnded(STAGE, facts | {"seconds": round(seconds, 1)}))
    results = list(made.evaluation.get("results", []))
    return ImportSummary(made.location.outer, made.digest, made.size, stars, seconds, results)
