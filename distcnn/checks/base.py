"""What a science check is: a question, and how a package answers it on a survey.

A check reads products and computes; it changes nothing. It is finished when ``ScienceChecks``
of the conformance kit pass, and a package spoiled on purpose fails it.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING

from matplotlib.figure import Figure

if TYPE_CHECKING:
    from distcnn.checks.inputs import CheckInputs

AnswerRow = Mapping[str, str | int | float]
FIGURE = "figure"
"""Name of the figure that a page shows; a check may have further ones."""


class Verdict(StrEnum):
    """What came of a check: within its limits, beyond one, or neither shown (``decision``)."""

    PASSED = "passed"
    FAILED = "failed"
    UNDECIDED = "undecided"


@dataclass(frozen=True)
class Answer:
    """What a check found.

    Attributes
    ----------
    verdict : undecided where the products do not hold what the question needs.
    sentence : the answer for people, with its number; for undecided, what is missing.
    rows : the numbers behind it, every row with the same keys.
    figures : what draws them, by name; ``FIGURE`` first.
    tables : further tables by name, such as averaged spectra, of the same kind as ``rows``.
    """

    verdict: Verdict
    sentence: str
    rows: Sequence[AnswerRow] = ()
    figures: Mapping[str, Callable[[], Figure]] = field(default_factory=dict)
    tables: Mapping[str, Sequence[AnswerRow]] = field(default_factory=dict)


@dataclass(frozen=True)
class Check:
    """One row of the registry.

    Attributes
    ----------
    name : on the command line, and of its folder.
    question : what is asked, for people.
    threshold : from where on it fails, for people.
    answer : how it is answered.
    """

    name: str
    question: str
    threshold: str
    answer: Callable[["CheckInputs"], Answer]
