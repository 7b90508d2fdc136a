"""What values and identifiers mean, whatever the format: the table that the tests go through.

``python -m distcnn.ingest.readers.formats.describe`` prints it.
"""

from dataclasses import dataclass

from distcnn.ingest.readers.values.identifiers import IdKind

FORMATS = ("fits", "votable", "parquet", "hdf5", "csv", "ecsv")
ROLES = (
    *("photometry", "parallax", "parallax_error", "snr"),
    *("label", "label_error", "label_snr", "cut", "flux", "flux_error", "xp", "xp_error"),
)
"""What a number may be, beside an identifier; a value means the same in all of them."""


@dataclass(frozen=True)
class Value:
    """A value that tables hold: its kind of column, how it is written there, what it means."""

    name: str
    column: str
    """Kind of the column that holds it: float, int, uint8, bool or text."""
    given: object
    """As a Python value; None is the null of the format (TNULL, masked, null, empty)."""
    meaning: float | None
    """The number it is; None is missing."""


VALUES = (
    Value("a number", "float", 2.5, 2.5),
    Value("an integer", "int", 7, 7.0),
    Value("an unsigned byte", "uint8", 200, 200.0),
    Value("NaN", "float", float("nan"), None),
    Value("infinity", "float", float("inf"), None),
    Value("-infinity", "float", float("-inf"), None),
    Value("-9999", "float", -9999.0, None),
    Value("-9999.99", "float", -9999.99, None),
    Value("-9999 as an integer", "int", -9999, None),
    Value("null of an integer", "int", None, None),
    Value("null of an unsigned byte", "uint8", None, None),
    Value("true", "bool", True, 1.0),
    Value("null of a logical", "bool", None, None),
    Value("a number as text", "text", "2.5", 2.5),
    Value("an empty text", "text", "", None),
    Value("null as text", "text", "null", None),
    Value("T as text", "text", "T", 1.0),
    Value("NA of R as text", "text", "NA", None),
    Value("N/A as text", "text", "N/A", None),
    Value("a dash as text", "text", "-", None),
    Value("INDEF of IRAF as text", "text", "INDEF", None),
    Value("masked as text", "text", "masked", None),
    Value("NaN of C on Windows as text", "text", "1.#QNAN", None),
    Value("the null of databases as text", "text", "\\N", None),
    Value("a double of Fortran as text", "text", "0.25D+01", 2.5),
    Value("an array of one number as text", "text", "[2.5]", 2.5),
)


@dataclass(frozen=True)
class Identifier:
    """An identifier as tables hold it, and what becomes of it."""

    name: str
    given: object
    kind: IdKind | None
    """None: the row is quarantined."""
    source_id: int = 0
    """Of kinds that keep the number."""


IDENTIFIERS = (
    Identifier("an integer", 4295806720, IdKind.INTEGER, 4295806720),
    Identifier("the largest", 2**63 - 1, IdKind.INTEGER, 2**63 - 1),
    Identifier("beyond 2^63 - 1", 11078338880131530752, IdKind.LARGE),
    Identifier("an integer as text", "4295806720", IdKind.INTEGER, 4295806720),
    Identifier("an exact float", 4295806720.0, IdKind.FLOAT, 4295806720),
    Identifier("a float of lost digits", 5853498713190525696.0, None),
    Identifier("a float with a fraction", 12.5, None),
    Identifier("NaN", float("nan"), None),
    Identifier("0", 0, None),
    Identifier("a designation", "Gaia DR3 4295806720", IdKind.DESIGNATION, 4295806720),
    Identifier("one of another release", "Gaia DR2 4295806720", IdKind.DESIGNATION, 4295806720),
    Identifier("one without a blank", "GaiaDR3 4295806720", IdKind.DESIGNATION, 4295806720),
    Identifier("a number behind an apostrophe", "'4295806720", IdKind.INTEGER, 4295806720),
    Identifier("a number as Excel keeps it", '="4295806720"', IdKind.INTEGER, 4295806720),
    Identifier("an array of one number", "[4295806720]", IdKind.INTEGER, 4295806720),
    Identifier("a name", "HD 12345", IdKind.NAME),
    Identifier("a name of more than 64 bytes", "N" * 65, None),
    Identifier("an empty text", "", None),
    Identifier("N/A", "N/A", None),
)


def describe() -> str:
    """Both tables in Markdown."""
    roles = ", ".join(ROLES)
    lines = [
        f"The same in {', '.join(FORMATS)}, and for every role: {roles}.\n",
        "| value | in a column of | means |",
        "| --- | --- | --- |",
        *(
            f"| {row.name} | {row.column} | {'missing' if row.meaning is None else row.meaning} |"
            for row in VALUES
        ),
        "\nA parallax error of zero or less is missing too. Identifiers:\n",
        "| identifier | becomes |",
        "| --- | --- |",
        *(
            f"| {row.name} ({row.given!r}) | "
            f"{'quarantined, saying why' if row.kind is None else row.kind.sentence} |"
            for row in IDENTIFIERS
        ),
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    print(describe())  # noqa: T201
