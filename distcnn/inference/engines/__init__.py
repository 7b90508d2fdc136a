"""Engines: ways to run an ensemble, and the proof that they give what training wrote.

An engine is the layers of all members as one callable (``model.ensemble.Layers``). Those that
this machine admits are tried on a real batch; one that does not reproduce the package is
refused with the reason, and the fastest of the others is used.
"""

from distcnn.inference.engines.registry import ENGINES, Candidate, EngineRefused, admitted
from distcnn.inference.engines.select import Choice, Gate, Trial, prove, race, select_engine, unfit

__all__ = [
    "ENGINES",
    "Candidate",
    "Choice",
    "EngineRefused",
    "Gate",
    "Trial",
    "admitted",
    "prove",
    "race",
    "select_engine",
    "unfit",
]
