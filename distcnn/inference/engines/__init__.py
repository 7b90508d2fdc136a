"""Engines: ways to run an ensemble, and the check that they give what training wrote.

An engine is the layers of all members as one callable (``model.ensemble.Layers``). Those that
this machine admits are tried on a real batch; one that does not reproduce the package is
refused with the reason, and the fastest of the others is used.
"""

from distcnn.inference.engines.registry import ENGINES, Candidate, EngineRefused, list_candidates
from distcnn.inference.engines.select import (
    EngineChoice,
    EngineTrial,
    ParityTolerance,
    benchmark_engines,
    check_parity,
    no_engine_error,
    prepare_engines,
    select_engine,
)

__all__ = [
    "ENGINES",
    "Candidate",
    "EngineChoice",
    "EngineRefused",
    "EngineTrial",
    "ParityTolerance",
    "benchmark_engines",
    "check_parity",
    "list_candidates",
    "no_engine_error",
    "prepare_engines",
    "select_engine",
]
