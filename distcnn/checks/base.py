"""What a science check is: a question, and how predictions answer it.

A check reads products and computes; it changes nothing. It is finished when ``ScienceChecks``
of the conformance kit pass.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from distcnn.config import ReportConfig
from distcnn.evaluation import Evaluation, EvaluationData, Sample

AnswerRow = Mapping[str, str | int | float]


class Verdict(StrEnum):
    """What came of a check."""

    PASSED = "passed"
    FAILED = "failed"
    UNDECIDED = "undecided"


@dataclass(frozen=True)
class CheckData:
    """Finished products, what an evaluation found in them, and the stars it is about."""

    products: EvaluationData
    numbers: Evaluation
    sample: Sample
    config: ReportConfig


@dataclass(frozen=True)
class Answer:
    """What a check found.

    Attributes
    ----------
    verdict : undecided where the products do not hold what the question needs.
    sentence : the answer for people, with its number; for undecided, what is missing.
    rows : the numbers behind it, every row with the same keys.
    """

    verdict: Verdict
    sentence: str
    rows: Sequence[AnswerRow] = ()


@dataclass(frozen=True)
class Check:
    """One row of the registry: ``name`` on the command line, ``question``, and how to answer it."""

    name: str
    question: str
    answer: Callable[[CheckData], Answer]
