"""Results: the folder of an answer, whole or not at all, and what it was made from.

NAME/answer.json            name, question, verdict, sentence, threshold, origin
NAME/table.ecsv             the numbers
NAME/figure.{png,pdf,svg}   the figure; further ones beside it
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from distcnn.checks.base import Answer, AnswerRow, Check, Verdict
from distcnn.checks.columns import meaning
from distcnn.ecsv import TableColumn, TextTable, to_ecsv
from distcnn.errors import FileBroken, UsageError
from distcnn.files import atomic_folder
from distcnn.style import save_figure, style

ANSWER_FILE, TABLE_FILE = "answer.json", "table.ecsv"
ANSWER_FORMAT = 1


@dataclass(frozen=True)
class RecordedAnswer:
    """An answer as it stands in its folder.

    Attributes
    ----------
    figures : names of its figures, each a PNG, PDF and SVG file.
    origin : digests of package and survey, settings, version.
    """

    name: str
    question: str
    verdict: Verdict
    sentence: str
    threshold: str
    figures: tuple[str, ...]
    origin: Mapping[str, Any]

    def to_json(self) -> str:
        """The text of ``answer.json``."""
        return json.dumps({"format": ANSWER_FORMAT, **vars(self)}, indent=1) + "\n"

    @classmethod
    def read(cls, folder: Path) -> "RecordedAnswer":
        """The answer in the folder of a check.

        Raises
        ------
        FileBroken : there is none, or it cannot be read.
        """
        try:
            held = json.loads((folder / ANSWER_FILE).read_bytes())
            if held.pop("format") != ANSWER_FORMAT:
                raise ValueError("another format")
            held["verdict"] = Verdict(held["verdict"])
            held["figures"] = tuple(held["figures"])
            return cls(**held)
        except (OSError, ValueError, TypeError, KeyError) as error:
            raise FileBroken(
                f"{folder} holds no answer of a check ({type(error).__name__}: {error})",
                expected=f"a readable {ANSWER_FILE}",
                cure="Remove the folder, and run `distcnn check` again.",
            ) from None


def write_answer(
    out: Path, check: Check, answer: Answer, origin: Mapping[str, Any]
) -> RecordedAnswer:
    """Write the folder of a check below ``out``; it appears whole."""
    drawn = tuple(answer.figures)
    record = RecordedAnswer(
        check.name,
        check.question,
        answer.verdict,
        answer.sentence,
        check.threshold,
        drawn,
        dict(origin),
    )
    out.mkdir(parents=True, exist_ok=True)
    with atomic_folder(out / check.name) as folder:
        (folder / ANSWER_FILE).write_text(record.to_json(), encoding="utf-8")
        (folder / TABLE_FILE).write_bytes(_table(check, answer, answer.rows))
        for name, rows in answer.tables.items():
            (folder / f"{name}.ecsv").write_bytes(_table(check, answer, rows))
        with style():
            for name, draw in answer.figures.items():
                save_figure(draw(), folder, name)
    return record


def _table(check: Check, answer: Answer, given: Sequence[AnswerRow]) -> bytes:
    names = list(given[0]) if given else ["note"]
    rows = given or [{"note": answer.sentence}]
    meta = {"check": check.name, "question": check.question, "verdict": str(answer.verdict)}
    meta["answer"] = answer.sentence
    columns = [TableColumn(name, "", meaning(check.name, name)) for name in names]
    return to_ecsv(TextTable(columns, list(rows), meta))


def finished_answer(out: Path, check: Check, origin: Mapping[str, Any]) -> RecordedAnswer | None:
    """The answer that is there already, if it is of the same origin; None if there is none.

    Raises
    ------
    UsageError : one of another origin is there.
    FileBroken : what is there is no answer.
    """
    folder = out / check.name
    if not folder.exists():
        return None
    found = RecordedAnswer.read(folder)
    # Through JSON, in which an origin is kept: tuples are lists there.
    asked = json.loads(json.dumps(dict(origin)))
    other = [
        key for key in sorted({*found.origin, *asked}) if found.origin.get(key) != asked.get(key)
    ]
    if not other:
        return found
    raise UsageError(
        f"{folder} is an answer with another {', '.join(other)}",
        expected="answers of the same package, survey, settings and version, or a new folder",
        cure=f"Choose another folder, or remove {folder}.",
    )


def answers_in(out: Path) -> list[RecordedAnswer]:
    """All answers below a folder, by name.

    Raises
    ------
    FileBroken : one cannot be read.
    """
    return [RecordedAnswer.read(file.parent) for file in sorted(out.glob(f"*/{ANSWER_FILE}"))]
