"""Engines: ways to run an ensemble, and the proof that they give what training wrote.

An engine is the layers of all members as one callable (``model.ensemble.Layers``). Those that
this machine admits are tried on a real batch; one that does not reproduce the package is
refused with the reason, and the fastest of the others is used.
"""

from distcnn.inference.engines.candidates import ENGINES, Candidate, EngineRefused, admitted
from distcnn.inference.engines.choose import Choice, Gate, Trial, choose, prove, race, unfit

__all__ = [
    "ENGINES",
    "Candidate",
    "Choice",
    "EngineRefused",
    "Gate",
    "Trial",
    "admitted",
    "choose",
    "prove",
    "race",
    "unfit",
]
