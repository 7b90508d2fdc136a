"""Blocks: what a section of the page is made of. They hold finished values; the template draws.

A table is written twice from the same rows: as HTML on the page and as ECSV beside it.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, ClassVar, Literal, TypeAlias

from distcnn.ecsv import TableColumn, TextTable
from distcnn.labels import label_info
from distcnn.report.text.table import label_value

Kind = Literal["text", "code", "count", "percent", "number", "significant", "label", "value"]
"""How a value is printed: ``significant`` with three digits that count, whatever its size, and
``value`` in the unit of the row's label."""
Mark = Literal["", "best", "out"]
"""What is special about a value; the page says it by a word, too, for who sees no colour."""
Row: TypeAlias = Mapping[str, Any]
SENTENCE_CHARACTERS, PHRASE_CHARACTERS = 70, 14
"""Text of a cell from which on it is a sentence, and a phrase."""
MAX_ROWS_SHOWN = 200
"""Rows of a table on the page; its file has all."""
ONE_PANEL_PIXELS = 720
"""Most width of a figure of one panel, which a narrow screen shows whole."""
PAGE_PIXELS = 1078
"""Width of a figure as wide as the page, in pixels of CSS."""
MOST_DECIMALS = 4
"""Behind the point, where three digits that count would take more."""
_NUMERIC = ("count", "percent", "number", "significant", "value")


@dataclass(frozen=True)
class Column:
    """A column of a table.

    Attributes
    ----------
    key : of the rows, and its name in the file.
    title : its head on the page.
    digits : behind the point, for numbers and percentages.
    """

    key: str
    title: str
    kind: Kind = "text"
    unit: str = ""
    digits: int = 3

    @property
    def numeric(self) -> bool:
        """Whether it is aligned to the right and sorted by size."""
        return self.kind in _NUMERIC

    def text(self, row: Row) -> str:
        """The value as the page prints it; empty where it is not known."""
        value = row.get(self.key)
        if value is None or (isinstance(value, float) and not math.isfinite(value)):
            return ""
        return self._printed(value, row)

    def _printed(self, value: Any, row: Row) -> str:
        if self.kind == "count":
            return f"{value:,}"
        if self.kind == "percent":
            return f"{100 * value:.{min(self.digits, 1)}f} %"
        if self.kind in ("number", "significant") and isinstance(value, int | float):
            return self._number(value)
        if self.kind == "label":
            return label_text(str(value))
        if self.kind == "value":
            return label_value(value, str(row.get("label", "")))
        return str(value)

    def _number(self, value: float) -> str:
        if isinstance(value, int):
            return f"{value:,}"
        return significant(value) if self.kind == "significant" else f"{value:.{self.digits}f}"


@dataclass(frozen=True)
class Note:
    """A paragraph; ``strong``: it is the finding, not how to read it."""

    block: ClassVar[str] = "note"
    text: str
    strong: bool = False


@dataclass(frozen=True)
class Card:
    """A number with what it is."""

    value: str
    text: str
    mark: Mark = ""


@dataclass(frozen=True)
class Cards:
    """Numbers side by side."""

    block: ClassVar[str] = "cards"
    cards: Sequence[Card]


@dataclass(frozen=True)
class Table:
    """A table that can be sorted.

    Attributes
    ----------
    key : name of its file; unique on the page.
    heading : the column that names a row; the first.
    mark : of a row and the key of a column.
    folded : shown only when it is opened.
    """

    block: ClassVar[str] = "table"
    key: str
    title: str
    columns: Sequence[Column]
    rows: Sequence[Row]
    note: str = ""
    folded: bool = False
    mark: Callable[[Row, str], Mark] = field(default=lambda row, key: "")

    @property
    def shown(self) -> Sequence[Row]:
        """The rows on the page."""
        return self.rows[:MAX_ROWS_SHOWN]

    @cached_property
    def text_lengths(self) -> Mapping[str, int]:
        """Key of a column of text -> characters of its longest cell on the page."""
        return {
            column.key: max((len(column.text(row)) for row in self.shown), default=0)
            for column in self.columns
            if column.kind == "text"
        }

    @property
    def wordy(self) -> bool:
        """Whether a cell is a sentence: on a narrow screen its row is shown as a list."""
        return max(self.text_lengths.values(), default=0) > SENTENCE_CHARACTERS

    def is_long(self, column: Column) -> bool:
        """Whether a cell of the column is a phrase, which takes room in a wide table."""
        return self.text_lengths.get(column.key, 0) > PHRASE_CHARACTERS

    def as_text_table(self) -> TextTable:
        """The table as its file has it; values of labels stand beside a column with their unit."""
        columns = [TableColumn(c.key, c.unit, c.title) for c in self.columns]
        rows = [dict(row) for row in self.rows]
        told = {column.key for column in self.columns}
        if "unit" not in told and any(column.kind == "value" for column in self.columns):
            columns.append(TableColumn("unit", "", "unit of the values of the label"))
            for row in rows:
                row["unit"] = label_info(str(row.get("label", ""))).unit
        return TextTable(columns, [{k: _plain(v) for k, v in row.items()} for row in rows])


@dataclass(frozen=True)
class Picture:
    """A figure.

    Attributes
    ----------
    uri : the picture itself. ``finding`` : what it shows, for who cannot see it.
    caption : how to read it. ``width`` : on the page, in pixels of CSS, if there is room.
    files : ending and address, relative to the page, of its files.
    """

    block: ClassVar[str] = "picture"
    key: str
    title: str
    finding: str
    caption: str
    uri: str = ""
    width: int = PAGE_PIXELS
    files: Mapping[str, str] = field(default_factory=dict)

    @property
    def wide(self) -> bool:
        """Whether it has panels side by side, too small to be read on the width of a phone."""
        return self.width > ONE_PANEL_PIXELS


@dataclass(frozen=True)
class Listing:
    """Lines to copy: commands, or an entry of a bibliography."""

    block: ClassVar[str] = "listing"
    title: str
    lines: Sequence[str]


@dataclass(frozen=True)
class Legend:
    """Colours and what they mean."""

    block: ClassVar[str] = "legend"
    title: str
    entries: Sequence[tuple[str, str]]


@dataclass(frozen=True)
class Missing:
    """What is not there, and the command that makes it."""

    block: ClassVar[str] = "missing"
    text: str
    command: str = ""


Block: TypeAlias = Note | Cards | Table | Picture | Listing | Legend | Missing


def significant(value: float) -> str:
    """A number with three digits that count, without an exponent: ``9,255``, ``58.6``, ``0.0543``.

    Columns that mix kelvin and dex can be read so, where one number of decimals cannot.
    """
    size = math.floor(math.log10(abs(value))) if value else 0
    return f"{value:,.{min(max(2 - size, 0), MOST_DECIMALS)}f}"


def label_text(name: str) -> str:
    """A label as the page prints it."""
    return label_info(name).symbol.replace("alpha", "α")


def _plain(value: Any) -> Any:
    """A value that a table of text can hold; NaN = not known."""
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value if value is None or isinstance(value, str | int | float) else str(value)
