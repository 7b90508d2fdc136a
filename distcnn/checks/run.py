"""Run: evaluate the predictions once, then put every chosen question to them."""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass

from distcnn.checks.base import Answer, Check, CheckData, Verdict
from distcnn.checks.registry import CHECKS
from distcnn.config import ReportConfig
from distcnn.errors import UsageError
from distcnn.evaluation import EvaluationData, evaluate
from distcnn.events import Advanced, Listener, StageEnded, StageStarted, silent
from distcnn.formatting import did_you_mean, format_number

STAGE = "check"


@dataclass(frozen=True)
class Checked:
    """Checks with their answers; prints as text."""

    answers: Sequence[tuple[Check, Answer]]

    @property
    def failed(self) -> int:
        """How many checks failed."""
        return sum(answer.verdict is Verdict.FAILED for _, answer in self.answers)

    def __str__(self) -> str:
        return "\n".join(line for check, answer in self.answers for line in _lines(check, answer))


def choose_checks(names: Collection[str]) -> tuple[Check, ...]:
    """The checks with these names; all of them if none is named.

    Raises
    ------
    UsageError : a name is no check.
    """
    known = [check.name for check in CHECKS]
    for name in names:
        if name not in known:
            raise UsageError(
                f"{name!r} is no check",
                expected=f"one of {', '.join(known)}",
                cure=did_you_mean(name, known),
            )
    return tuple(check for check in CHECKS if not names or check.name in names)


def run_checks(
    products: EvaluationData,
    config: ReportConfig,
    listener: Listener = silent,
    *,
    names: Collection[str] = (),
) -> Checked:
    """Answers of the checks ``names`` (all if empty).

    Raises
    ------
    UsageError : a name is no check.
    StoreError : a store cannot be used.
    """
    chosen = choose_checks(names)
    numbers, sample = evaluate(products, config, listener)
    data = CheckData(products, numbers, sample, config)
    listener(StageStarted(STAGE, len(chosen), "checks"))
    answers = []
    for check in chosen:
        answers.append((check, check.answer(data)))
        listener(Advanced(STAGE, 1, check.name))
    checked = Checked(answers)
    listener(StageEnded(STAGE, {"checks": len(chosen), "failed": checked.failed}))
    return checked


def _lines(check: Check, answer: Answer) -> Iterator[str]:
    yield f"{check.name}: {answer.verdict}. {check.question}"
    yield f"  {answer.sentence}"
    if answer.rows:
        table = [list(answer.rows[0]), *([_cell(v) for v in row.values()] for row in answer.rows)]
        widths = [max(map(len, column)) for column in zip(*table, strict=True)]
        for row in table:
            yield "    " + "  ".join(t.ljust(w) for t, w in zip(row, widths, strict=True)).rstrip()


def _cell(value: str | int | float) -> str:
    return format_number(value)
