"""Science checks: questions put to finished predictions, each with a verdict and its numbers."""

from distcnn.checks.base import Answer, Check, CheckData, Verdict
from distcnn.checks.registry import CHECKS
from distcnn.checks.run import Checked, choose_checks, run_checks

__all__ = [
    "CHECKS",
    "Answer",
    "Check",
    "CheckData",
    "Checked",
    "Verdict",
    "choose_checks",
    "run_checks",
]
