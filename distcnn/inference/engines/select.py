"""Engine selection: try every supported engine on a real batch, refuse the wrong, take the fastest.

An engine must show parity twice: on the package's fixtures, as training wrote them, and on a
batch of the survey, as the canonical weights give it here in float32. Its speed is measured on that
batch. A choice is kept in the user's cache per host and package; what is taken from there is
checked by the fixtures again.
"""

import contextlib
import json
import statistics
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch

from distcnn import __version__, hashing
from distcnn.arrays import Array
from distcnn.errors import ParityError
from distcnn.files import atomic_write_text
from distcnn.inference.engines.base import EngineRefused
from distcnn.inference.engines.cache import cache_folder, host_facts
from distcnn.inference.engines.registry import (
    ENGINES,
    Candidate,
    engine_versions,
    list_candidates,
    unsupported_reason,
)
from distcnn.model import Batch, Ensemble, Package, StarInputs
from distcnn.model.devices import out_of_memory
from distcnn.model.ensemble import Parity

TIMED_PASSES = 3
"""Timed passes over the batch, of which the median counts."""
MIN_SPEEDUP = 1.05
"""An engine further down the list must be this much faster to be taken."""
BUILD_ERRORS = (EngineRefused, RuntimeError, ImportError)
"""What building or running an engine may raise without ending the run."""


@dataclass(frozen=True)
class ParityTolerance:
    """Largest differences, in units of a label's calibrated error: rms, and of the mean."""

    rms: float = 0.01
    bias: float = 0.002

    def unsupported_reason(self, parity: Parity) -> str:
        """Why an engine with these differences is refused; "" if it is not."""
        if parity.rms > self.rms:
            return f"differs by {parity.rms:.2g} label errors (rms), at most {self.rms:g} allowed"
        if parity.bias > self.bias:
            return f"is off by {parity.bias:.2g} label errors, at most {self.bias:g} allowed"
        return ""


@dataclass(frozen=True)
class EngineTrial:
    """One candidate: what was found, in label errors and stars per second of one process."""

    candidate: Candidate
    rms: float | None = None
    bias: float | None = None
    stars_per_second: float | None = None
    refused: str = ""

    def to_json(self) -> dict[str, Any]:
        return {**asdict(self), "candidate": str(self.candidate)}

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> "EngineTrial":
        return cls(**{**value, "candidate": Candidate.parse(value["candidate"])})


@dataclass(frozen=True)
class EngineChoice:
    """What is used, and what was tried before it was chosen."""

    candidate: Candidate
    trials: tuple[EngineTrial, ...]
    cached: bool = False

    @property
    def chosen(self) -> EngineTrial:
        return next(trial for trial in self.trials if trial.candidate == self.candidate)

    def to_json(self) -> dict[str, Any]:
        trials = [trial.to_json() for trial in self.trials]
        return {"candidate": str(self.candidate), "trials": trials}

    def __str__(self) -> str:
        return self._table(self.trials)

    def brief(self) -> str:
        """The table without what this machine does not admit."""
        return self._table([trial for trial in self.trials if trial.rms is not None])

    def _table(self, trials: Sequence[EngineTrial]) -> str:
        lines = ["engine                    parity    bias   stars/s"]
        for trial in trials:
            mark = "*" if trial.candidate == self.candidate else " "
            numbers = f"{_number(trial.rms)}  {_number(trial.bias)}"
            speed = "" if trial.stars_per_second is None else f"{trial.stars_per_second:9,.0f}"
            line = f"{mark} {trial.candidate!s:22s}{numbers} {speed} {trial.refused}"
            lines.append(line.rstrip())
        return "\n".join(lines)


def _number(value: float | None) -> str:
    return " " * 7 if value is None else f"{value:7.1e}"


def select_engine(
    package: Package,
    stars: StarInputs,
    *,
    engine: str = "auto",
    precision: str = "auto",
    tolerance: ParityTolerance | None = None,
    device: torch.device | None = None,
) -> tuple[Ensemble, EngineChoice]:
    """The fastest engine that reproduces the package here, and how it was found.

    Parameters
    ----------
    stars : a real batch [B]; fewer than a batch of the run are timed less well.
    engine, precision : only this one; the tolerance still applies.

    Raises
    ------
    ParityError : no engine, or not the one that was named, reproduces the package.
    """
    tolerance, device = tolerance or ParityTolerance(), device or torch.device("cpu")
    asked = {"engine": engine, "precision": precision}
    path, known = _remembered(package, len(stars), tolerance, device, asked)
    if known is not None:
        return known
    found = dict(benchmark_engines(package, stars, tolerance, device, **asked))
    trials = tuple(trial for trial, _ in found.values())
    best = _fastest(trials)
    if best is None:
        raise no_engine_error(package, engine, trials)
    choice = EngineChoice(best.candidate, trials)
    _write(path, choice)
    return found[best.candidate][1], choice  # type: ignore[return-value]


def prepare_engines(
    package: Package,
    batch: int,
    *,
    engine: str = "auto",
    precision: str = "auto",
    tolerance: ParityTolerance | None = None,
    device: torch.device | None = None,
) -> tuple[Ensemble, EngineChoice] | None:
    """What a worker does while another one selects: the choice that is remembered here, or None.

    Then it has built the last candidate, the one that takes longest: what the engine keeps in
    the cache is there when the other one comes to it, and this process has loaded its library.
    """
    tolerance, device = tolerance or ParityTolerance(), device or torch.device("cpu")
    asked = {"engine": engine, "precision": precision}
    _, known = _remembered(package, batch, tolerance, device, asked)
    if known is None:
        admitted = [one for one, refused in list_candidates(device, **asked) if not refused]
        for candidate in admitted[-1:]:
            _build_and_check(package, candidate, tolerance, device)
    return known


def _remembered(
    package: Package,
    batch: int,
    tolerance: ParityTolerance,
    device: torch.device,
    asked: dict[str, str],
) -> tuple[Path, tuple[Ensemble, EngineChoice] | None]:
    """Where the choice for this is kept, and the one that is there if it can still be used."""
    path = _cache_file(package, device, batch=batch, tolerance=asdict(tolerance), **asked)
    known = _read(path)
    if known is None:
        return path, None
    ensemble = check_parity(package, known.candidate, tolerance, device)[1]
    return path, None if ensemble is None else (ensemble, replace(known, cached=True))


def benchmark_engines(
    package: Package,
    stars: StarInputs,
    tolerance: ParityTolerance,
    device: torch.device,
    *,
    engine: str = "auto",
    precision: str = "auto",
) -> Iterator[tuple[Candidate, tuple[EngineTrial, Ensemble | None]]]:
    """Try the candidates one after the other."""
    batch = stars.tensors(device=str(device))
    eager = Ensemble(package, "eager", str(device)).parity_outputs(batch)
    right = [values.float().cpu().numpy() for values in eager]
    for candidate, refused in list_candidates(device, engine=engine, precision=precision):
        if refused:
            yield candidate, (EngineTrial(candidate, refused=refused), None)
            continue
        trial, ensemble = _build_and_check(package, candidate, tolerance, device, (batch, right))
        if ensemble is not None:
            trial = replace(trial, stars_per_second=_speed(ensemble, stars, device))
        yield candidate, (trial, ensemble)


def check_parity(
    package: Package, candidate: Candidate, tolerance: ParityTolerance, device: torch.device
) -> tuple[EngineTrial, Ensemble | None]:
    """One candidate on the package's fixtures alone, untimed; None if it is refused."""
    refused = unsupported_reason(candidate, device)
    if refused:
        return EngineTrial(candidate, refused=refused), None
    return _build_and_check(package, candidate, tolerance, device)


def _build_and_check(
    package: Package,
    candidate: Candidate,
    tolerance: ParityTolerance,
    device: torch.device,
    known: tuple[Batch, Sequence[Array]] | None = None,
) -> tuple[EngineTrial, Ensemble | None]:
    """Build a candidate and compare it; ``known``: a batch, and what is right for it."""
    try:
        layers = candidate.build(package, device, cache_folder() / "engines")
        ensemble = Ensemble(package, layers, str(device))
        parities = [ensemble.parity()]
        if known is not None:
            batch, right = known
            parities.append(ensemble.differences(ensemble.parity_outputs(batch), right))
    except BUILD_ERRORS as error:
        if out_of_memory(error):
            raise
        text = str(error).strip().split("\n")[0]
        return EngineTrial(candidate, refused=text or type(error).__name__), None
    worst = Parity(max(p.rms for p in parities), max(p.bias for p in parities))
    refused = tolerance.unsupported_reason(worst)
    trial = EngineTrial(candidate, worst.rms, worst.bias, refused=refused)
    return trial, None if refused else ensemble


def _speed(ensemble: Ensemble, stars: StarInputs, device: torch.device) -> float:
    """Stars per second; on a CPU of its own time, so that neighbours disturb little."""
    clock = time.perf_counter if device.type == "cuda" else time.process_time
    seconds = []
    for _ in range(TIMED_PASSES):
        begun = clock()
        ensemble.predict(stars, len(stars))
        seconds.append(clock() - begun)
    return len(stars) / max(statistics.median(seconds), 1e-9)


def _fastest(trials: Sequence[EngineTrial]) -> EngineTrial | None:
    best: EngineTrial | None = None
    for trial in trials:
        if trial.stars_per_second is None:
            continue
        if best is None or trial.stars_per_second > MIN_SPEEDUP * (best.stars_per_second or 0):
            best = trial
    return best


def no_engine_error(package: Package, engine: str, trials: Sequence[EngineTrial]) -> ParityError:
    """The error that says why none of these engines can be used."""
    reasons = "; ".join(f"{trial.candidate}: {trial.refused}" for trial in trials if trial.refused)
    return ParityError(
        f"no engine can run {package.location.name} here ({reasons})",
        expected="one that reproduces the package's fixtures",
        cure="Leave predict.engine at auto, or train the package again on this machine."
        if engine != "auto"
        else "Train the package again, and report this machine.",
    )


def _cache_file(package: Package, device: torch.device, **asked: Any) -> Path:
    facts = {
        **host_facts(),
        **engine_versions(),
        **asked,
        "package": package.digest,
        "distcnn": __version__,
        "device": str(device),
    }
    return cache_folder() / "choices" / f"{hashing.of_value(facts)[:32]}.json"


def _read(path: Path) -> EngineChoice | None:
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
        trials = tuple(EngineTrial.from_json(trial) for trial in value["trials"])
        choice = EngineChoice(Candidate.parse(value["candidate"]), trials)
        return choice if choice.chosen and choice.candidate.engine in ENGINES else None
    except (OSError, ValueError, KeyError, TypeError, StopIteration):
        return None


def _write(path: Path, choice: EngineChoice) -> None:
    with contextlib.suppress(OSError):  # a choice that cannot be kept is made again
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        atomic_write_text(path, json.dumps(choice.to_json(), indent=1))
