"""Science checks: questions put to a package on a survey, each with a verdict and its numbers."""

from distcnn.checks.base import Answer, AnswerRow, Check, Verdict
from distcnn.checks.inputs import CheckInputs, EvaluatedPredictions
from distcnn.checks.registry import CHECKS
from distcnn.checks.results import RecordedAnswer, answers_in
from distcnn.checks.run import Checked, choose_checks, origin_of, run_checks, waiting_checks

__all__ = [
    "CHECKS",
    "Answer",
    "AnswerRow",
    "Check",
    "CheckInputs",
    "Checked",
    "EvaluatedPredictions",
    "RecordedAnswer",
    "Verdict",
    "answers_in",
    "choose_checks",
    "origin_of",
    "run_checks",
    "waiting_checks",
]
