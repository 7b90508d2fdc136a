"""The package of this process: loaded once, checked once, kept by its digest.

A package is never shipped with a task: tasks name its path and digest, and the first one in
a process loads it, checks it against its own fixtures, and leaves it for the next.
"""

import threading
from dataclasses import dataclass, field, replace
from typing import Any

from distcnn.errors import DigestMismatch
from distcnn.inference.engines import (
    Candidate,
    EngineChoice,
    ParityTolerance,
    check_parity,
    no_engine_error,
    prepare_engines,
    select_engine,
)
from distcnn.inference.worker.predictor import Predictor
from distcnn.model import Ensemble, Package, StarInputs
from distcnn.model.devices import DeviceChoice, open_device, worker_threads
from distcnn.quality import Quality

TORCH_EAGER = Candidate("eager")
"""What every host can run."""

_cached: dict["PackageKey", Predictor] = {}
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
    tolerance: ParityTolerance = field(default_factory=ParityTolerance)
    device: DeviceChoice = "auto"
    chosen: str = ""


def get_cached(key: PackageKey) -> Predictor:
    """The predictor of this process for a package; loaded and checked against its fixtures at
    the first call.

    A host where the engine of the run does not reproduce the package uses torch's eager one.

    Raises
    ------
    DigestMismatch : the package at the path is another one than named.
    ParityError : the engine does not reproduce the package's fixtures.
    PackageError : the package cannot be read.
    """
    with _lock:
        if key not in _cached:
            _cached.clear()
            _cached[key] = _load(key)
        return _cached[key]


def select_and_cache(key: PackageKey, stars: StarInputs) -> EngineChoice:
    """Find the engine of a run on a real batch; the predictor stays loaded for its regions.

    Raises
    ------
    ParityError : no engine, or not the one that was asked for, reproduces the package.
    """
    with _lock, worker_threads():
        package = _open(key)
        ensemble, choice = select_engine(package, stars, **_asked(key))
        _keep(key, package, ensemble, choice)
    return choice


def prepare(key: PackageKey, batch: int) -> None:
    """Get ready for the regions of a run while another worker selects its engine.

    ``batch``: stars of the batch that the other one selects on. Where a choice is remembered,
    which will be the other's too, the predictor is loaded; else as much as can be done before.
    """
    with _lock, worker_threads():
        package = _open(key)
        known = prepare_engines(package, batch, **_asked(key))
        if known is not None:
            _keep(key, package, *known)


def _asked(key: PackageKey) -> dict[str, Any]:
    return {
        "engine": key.engine,
        "precision": key.precision,
        "tolerance": key.tolerance,
        "device": open_device(key.device),
    }


def _keep(key: PackageKey, package: Package, ensemble: Ensemble, choice: EngineChoice) -> None:
    _cached.clear()
    ready = replace(key, chosen=str(choice.candidate))
    _cached[ready] = _predictor(package, ensemble, choice)


def _load(key: PackageKey) -> Predictor:
    package, device = _open(key), open_device(key.device)
    wanted = Candidate.parse(key.chosen) if key.chosen else TORCH_EAGER
    with worker_threads():
        trial, ensemble = check_parity(package, wanted, key.tolerance, device)
        if ensemble is None and key.engine == "auto" and wanted != TORCH_EAGER:
            trial, ensemble = check_parity(package, TORCH_EAGER, key.tolerance, device)
    if ensemble is None:
        raise no_engine_error(package, wanted.engine, [trial])
    return _predictor(package, ensemble, EngineChoice(trial.candidate, (trial,)))


def _predictor(package: Package, ensemble: Ensemble, choice: EngineChoice) -> Predictor:
    quality = Quality.from_arrays(package.quality_arrays)
    return Predictor(package.spec, ensemble, quality, choice)


def _open(key: PackageKey) -> Package:
    package = Package.load(key.path, verify=True)
    if package.digest != key.digest:
        raise DigestMismatch(
            f"{package.location.name} has the digest {package.digest[:12]}",
            expected=f"{key.digest[:12]}, as planned",
            cure="The package was exchanged while it was in use. Run the same command again.",
        )
    return package
