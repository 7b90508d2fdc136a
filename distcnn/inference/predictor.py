"""Predictor: a package ready to compute, loaded once per process and kept by its digest.

A package is never shipped with a task: tasks name its path and digest, and the first one in
a process loads it, proves it against its own fixtures, and leaves it for the next.
"""

import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from threadpoolctl import threadpool_limits

from distcnn.errors import DigestMismatch
from distcnn.inference.device_pipeline import Conveyor
from distcnn.inference.engines import Candidate, Choice, Gate, prove, select_engine, unfit
from distcnn.model import Ensemble, InputSpec, Package, Prediction, StarInputs, star_inputs
from distcnn.model.devices import Wanted, open_device
from distcnn.model.inputs import band_columns
from distcnn.quality import Evidence, Quality
from distcnn.schema import PREDICTION_VARIABLES
from distcnn.survey import Quantised, widened

Array = np.ndarray[Any, Any]
LABELLED = ("label", "label_error", "label_noise", "label_scatter")
"""Without a finite value in each of these a star has failed."""
DERIVED = ("label_error_low", "label_error_high", "label_debiased", "label_debiased_error")
"""Further variables per label: NaN in failed stars, and where the package gives none."""
CORRELATION = "label_correlation"

WIDE_AT_ONCE = 1024
"""Stars that are wide at a time, or one batch if that is more."""
PLAIN = Candidate("eager")
"""What every host can run."""

_held: dict["PackageKey", "Predictor"] = {}
_lock = threading.Lock()


@dataclass(frozen=True)
class PackageKey:
    """Which package, run how: all that a worker must know to load it.

    ``engine``, ``precision``: what was asked for. ``chosen``: the candidate that a worker of
    this run has found fastest, "" before that.
    """

    path: str
    digest: str
    engine: str = "auto"
    precision: str = "auto"
    gate: Gate = field(default_factory=Gate)
    device: Wanted = "auto"
    chosen: str = ""


@dataclass
class Predictor:
    """An ensemble with its quality. ``batch`` is the largest that fitted in memory so far.

    ``choice`` : the engine, and how it was found.
    """

    spec: InputSpec
    ensemble: Ensemble
    quality: Quality
    choice: Choice
    batch: int | None = None
    variables: tuple[str, ...] = field(init=False)
    _conveyor: Conveyor | None = field(init=False, default=None)

    def __post_init__(self) -> None:
        extra = ("flux_error",) if self.spec.pixels else ()
        self.variables = (*self.spec.variables, *extra)

    @property
    def travels(self) -> bool:
        """Whether stars go to another device and come back; else they are computed here."""
        return self.ensemble.device != "cpu"

    def predict(
        self,
        arrays: Mapping[str, Array],
        bands: Sequence[str],
        batch: int,
        quantised: Mapping[str, Quantised],
    ) -> dict[str, Array]:
        """Predict and judge N stars.

        Parameters
        ----------
        arrays : survey variables of N stars (those of ``variables`` that the survey has), as
            ``Store.read_stored`` gives them.
        bands : names of the columns of ``photometry``.
        batch : stars per forward pass.
        quantised : how variables that are held as integers are widened.

        Returns
        -------
        ``label`` and all variables named ``label_*`` float32 [N, L] in label units, NaN where the
        package has nothing to say; ``label_correlation`` float16 [N, K] unless there is but one
        label; ``novelty``, ``valid_pixels`` float32 [N]; ``flags`` uint32 [N].
        """
        if not self.travels:
            prediction, evidence = self._at_home(arrays, bands, batch, quantised)
        else:
            if self._conveyor is None or self._conveyor.quantised != dict(quantised):
                places = self.ensemble, self.quality.novelty, self.spec
                self._conveyor = Conveyor(*places, quantised)
            columns = band_columns(self.spec.bands, bands) if "photometry" in arrays else []
            prediction, evidence = self._conveyor(arrays, columns, batch)
        return self._judged(prediction, evidence)

    def _at_home(
        self,
        arrays: Mapping[str, Array],
        bands: Sequence[str],
        batch: int,
        quantised: Mapping[str, Quantised],
    ) -> tuple[Prediction, Evidence]:
        """Some stars at a time: what is widened stays in the cache for all that is done to it."""
        step = batch * -(-WIDE_AT_ONCE // batch)
        starts = range(0, len(next(iter(arrays.values()))), step)
        parts = [
            self._widened(
                {
                    name: widened(arrays[name][start : start + step], quantised.get(name))
                    for name in self.variables
                    if name in arrays
                },
                bands,
                batch,
            )
            for start in starts
        ]
        predictions, evidence = zip(*parts, strict=True)
        return Prediction.joined(predictions), Evidence.joined(evidence)

    def _widened(
        self, arrays: Mapping[str, Array], bands: Sequence[str], batch: int
    ) -> tuple[Prediction, Evidence]:
        inputs = star_inputs(arrays, self.spec, bands)
        known: dict[str, Array] = {"flux": inputs.flux, "xp": inputs.xp, "snr": inputs.snr[:, 0]}
        known["photometry"] = inputs.photometry
        if self.spec.astrometry:
            known["parallax"] = inputs.astrometry[:, 0]
        if self.spec.pixels and "flux_error" in arrays:
            known["flux_error"] = arrays["flux_error"]
        evidence = Evidence.of(known, len(inputs), self.quality.novelty)
        return self.ensemble.predict(inputs, batch), evidence

    def _judged(self, prediction: Prediction, evidence: Evidence) -> dict[str, Array]:
        label, noise, scatter, correlation = prediction
        judged = self.quality.judge(evidence, label, noise, scatter)
        given = {name: values for name, values in judged.items() if name in PREDICTION_VARIABLES}
        out = {"label": label, "label_noise": noise, "label_scatter": scatter, **given}
        for name in DERIVED:
            out.setdefault(name, np.full_like(label, np.nan))
        if correlation.shape[1]:
            out[CORRELATION] = correlation.astype(PREDICTION_VARIABLES[CORRELATION].dtype)
        return out


def hold(key: PackageKey) -> Predictor:
    """The predictor of this process for a package; loaded and proven at the first call.

    A host where the engine of the run does not reproduce the package uses the plain one.

    Raises
    ------
    DigestMismatch : the package at the path is another one than named.
    ParityError : the engine does not reproduce the package's fixtures.
    PackageError : the package cannot be read.
    """
    with _lock:
        if key not in _held:
            _held.clear()
            _held[key] = _load(key)
        return _held[key]


def decide(key: PackageKey, stars: StarInputs) -> Choice:
    """Find the engine of a run on a real batch; the predictor stays loaded for its regions.

    Raises
    ------
    ParityError : no engine, or not the one that was asked for, reproduces the package.
    """
    with _lock, one_thread():
        package = _open(key)
        asked = {"engine": key.engine, "precision": key.precision}
        device = open_device(key.device)
        ensemble, choice = select_engine(package, stars, gate=key.gate, device=device, **asked)
        _held.clear()
        ready = replace(key, chosen=str(choice.candidate))
        _held[ready] = _predictor(package, ensemble, choice)
    return choice


def _load(key: PackageKey) -> Predictor:
    package, device = _open(key), open_device(key.device)
    wanted = Candidate.parse(key.chosen) if key.chosen else PLAIN
    with one_thread():
        trial, ensemble = prove(package, wanted, key.gate, device)
        if ensemble is None and key.engine == "auto" and wanted != PLAIN:
            trial, ensemble = prove(package, PLAIN, key.gate, device)
    if ensemble is None:
        raise unfit(package, wanted.engine, [trial])
    return _predictor(package, ensemble, Choice(trial.candidate, (trial,)))


def _predictor(package: Package, ensemble: Ensemble, choice: Choice) -> Predictor:
    quality = Quality.from_arrays(package.quality_arrays)
    return Predictor(package.spec, ensemble, quality, choice)


def _open(key: PackageKey) -> Package:
    package = Package.load(Path(key.path), verify=True)
    if package.digest != key.digest:
        raise DigestMismatch(
            f"{Path(key.path).name} has the digest {package.digest[:12]}",
            expected=f"{key.digest[:12]}, as planned",
            cure="The package was exchanged while it was in use. Run the same command again.",
        )
    return package


@contextmanager
def one_thread() -> Iterator[None]:
    """One thread of torch and of BLAS: fastest with a process per core, same bits everywhere."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with threadpool_limits(1, user_api="blas"):
            yield
    finally:
        torch.set_num_threads(before)
