"""Run: put every chosen question to a package on a survey, and keep each answer as it comes."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from distcnn import __version__, hashing
from distcnn.checks.base import Check, Verdict
from distcnn.checks.inputs import CheckInputs
from distcnn.checks.registry import CHECKS
from distcnn.checks.results import RecordedAnswer, finished_answer, write_answer
from distcnn.config import CatalogueConfig
from distcnn.errors import UsageError
from distcnn.events import Advanced, Listener, StageEnded, StageStarted, silent
from distcnn.formatting import did_you_mean
from distcnn.labels import of_attributes, present
from distcnn.location import Location
from distcnn.manifest import read_manifest
from distcnn.survey import Store

STAGE = "check"
ALL = "all"
_BY_CONTENT = ("catalogues", "repeated", "retrained")
"""Settings that name products, which count by what is in them, wherever they lie."""


@dataclass(frozen=True)
class Checked:
    """The answers of a run, which prints as text."""

    answers: Sequence[RecordedAnswer]

    @property
    def failed(self) -> int:
        """How many checks failed."""
        return sum(answer.verdict is Verdict.FAILED for answer in self.answers)

    def __str__(self) -> str:
        verdicts = [answer.verdict for answer in self.answers]
        counts = ", ".join(f"{verdicts.count(one)} {one}" for one in Verdict)
        lines = [line for answer in self.answers for line in _lines(answer)]
        return "\n".join([*lines, f"Checks: {counts}."])


def _lines(answer: RecordedAnswer) -> Iterator[str]:
    yield f"{answer.name}: {answer.verdict}. {answer.question}"
    yield f"  {answer.sentence}"


def choose_checks(names: Collection[str]) -> tuple[Check, ...]:
    """The checks with these names; every check for ``all``, or if none is named.

    Raises
    ------
    UsageError : a name is no check.
    """
    known = [check.name for check in CHECKS]
    for name in names:
        if name not in known and name != ALL:
            raise UsageError(
                f"{name!r} is no check",
                expected=f"{ALL}, or one of {', '.join(known)}",
                cure=did_you_mean(name, known),
            )
    every = ALL in names or not names
    return tuple(check for check in CHECKS if every or check.name in names)


def run_checks(
    inputs: CheckInputs,
    out: Path,
    names: Collection[str],
    listener: Listener = silent,
    *,
    origin: Mapping[str, Any] | None = None,
) -> Checked:
    """Answers of the checks ``names`` in folders below ``out``; those that are there are kept.

    ``origin``: of these inputs, from ``origin_of``, where the caller has it already.

    Raises
    ------
    UsageError : a name is no check, or answers of another origin are there.
    StoreError, FileBroken : a product cannot be used.
    """
    chosen, origin = choose_checks(names), origin or origin_of(inputs)
    listener(StageStarted(STAGE, len(chosen), "checks"))
    answers = []
    with present(of_attributes(inputs.survey.attrs) or inputs.package.manifest.own_labels):
        for check in chosen:
            found = finished_answer(out, check, origin)
            answers.append(found or write_answer(out, check, check.answer(inputs), origin))
            listener(Advanced(STAGE, 1, check.name))
    checked = Checked(answers)
    listener(StageEnded(STAGE, {"checks": len(chosen), "failed": checked.failed}))
    return checked


def waiting_checks(
    out: Path, names: Collection[str], origin: Mapping[str, Any]
) -> tuple[Check, ...]:
    """Those of the checks ``names`` that have no answer of ``origin`` below ``out`` yet.

    Raises
    ------
    UsageError, FileBroken : as ``run_checks``.
    """
    return tuple(c for c in choose_checks(names) if finished_answer(out, c, origin) is None)


def origin_of(inputs: CheckInputs) -> dict[str, Any]:
    """What decides answers: digests of package, survey and further products, settings, version.

    Reads every catalogue once, however large.
    """
    return {
        "package": inputs.package.digest,
        "survey": inputs.survey.identity,
        "settings": inputs.config.model_dump(mode="json", exclude=set(_BY_CONTENT)),
        "repeated": _digest_of_repeated(inputs.config.repeated),
        "retrained": _digest_of_retrained(inputs.config.retrained),
        "catalogues": [_digest_of_catalogue(one) for one in inputs.config.catalogues],
        "truth": _digest_of_file(inputs.truth),
        "predictions": _digest_of_predictions(inputs),
        "version": __version__,
    }


def _digest_of_repeated(address: str | None) -> str | None:
    return None if address is None else Store.open(address).identity


def _digest_of_retrained(address: str | None) -> str | None:
    return None if address is None else read_manifest(address).digest


def _digest_of_catalogue(catalogue: CatalogueConfig) -> dict[str, Any]:
    """How it is read, and what is in it, wherever it lies."""
    settings = catalogue.model_dump(mode="json", exclude={"path"})
    there = catalogue.path is not None and catalogue.path.is_file()
    return {**settings, "digest": _digest_of_file(catalogue.path) if there else None}


def _digest_of_file(address: Any) -> str | None:
    if address is None:
        return None
    with Location.parse(address).local_copy() as file:
        return hashing.of_file(file)


def _digest_of_predictions(inputs: CheckInputs) -> str | None:
    if inputs.products is None:
        return None
    return Store.open(inputs.products.predictions, "predictions").identity
