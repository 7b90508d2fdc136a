"""XP coefficients of one table, in every layout that people have: arrays, or a column each.

Gaia has an array per band (``bp_coefficients``); GaiaXPy and tables exploded by TOPCAT have a
column per coefficient (``bp_coefficients_1``, ``bp_coeff_0``); merged tables have one array of
both bands, BP first (``xp``, ``coeff``). Errors may be missing, or be variances by their name or
unit.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from distcnn.arrays import Array
from distcnn.errors import ColumnMissing, ScaleMismatch
from distcnn.ingest.readers.base import (
    XP_COEFFICIENTS,
    Block,
    Rejected,
    find_column,
    look_for,
    member_of,
)
from distcnn.ingest.readers.formats.binary_table import BinaryTable
from distcnn.ingest.readers.formats.text.arrays import ArrayText, text_facts
from distcnn.ingest.readers.formats.text.table import TextTable
from distcnn.ingest.readers.statements.flux_units import sigma_of
from distcnn.ingest.readers.statements.statements import TableFacts, read_statements
from distcnn.ingest.readers.tables.arrays import stacked
from distcnn.ingest.readers.tables.spectra_table import wide_columns
from distcnn.ingest.readers.values.numbers import arrays
from distcnn.ingest.readers.values.scalars import (
    ColumnSelection,
    identify,
    reject,
    star_columns,
    text_blocks,
)
from distcnn.schema import Reason

BOTH = 2 * XP_COEFFICIENTS
VARIABLES = (
    *("xp", "xp_error", "bp_coefficients", "bp_coefficient_errors"),
    *("rp_coefficients", "rp_coefficient_errors"),
)
"""What ``columns`` may name: both bands in one array, or each in its own."""
_PLACES = {
    "xp": ("xp", 0, BOTH),
    "xp_error": ("xp_error", 0, BOTH),
    "bp_coefficients": ("xp", 0, XP_COEFFICIENTS),
    "bp_coefficient_errors": ("xp_error", 0, XP_COEFFICIENTS),
    "rp_coefficients": ("xp", XP_COEFFICIENTS, XP_COEFFICIENTS),
    "rp_coefficient_errors": ("xp_error", XP_COEFFICIENTS, XP_COEFFICIENTS),
}
_STEMS = {
    "xp": ("xp", "xp_coefficients", "xp_coeffs", "xp_coeff", "coeff", "coefficients", "coeffs"),
    "xp_error": (
        *("xp_error", "xp_errors", "xp_err", "e_xp", "xp_coefficient_errors", "xp_ivar"),
        *("coeff_error", "coeff_errors", "coeff_err", "coefficient_errors", "e_coeff"),
    ),
}
for _band in ("bp", "rp"):
    _STEMS[f"{_band}_coefficients"] = tuple(
        f"{_band}{end}" for end in ("_coefficients", "_coeff", "_coeffs", "_coef", "")
    )
    _STEMS[f"{_band}_coefficient_errors"] = (
        *(f"{_band}_coefficient_errors", f"{_band}_coefficients_error", f"e_{_band}_coeff"),
        *(f"{_band}_coeff_error", f"{_band}_coeff_errors", f"{_band}_coeff_err"),
        *(f"e_{_band}_coefficients", f"{_band}_errors", f"{_band}_error", f"{_band}_err"),
        *(f"e_{_band}", f"{_band}_ivar"),
    )


_OF_MAGNITUDES = ("bp", "rp", "e_bp", "e_rp", "bp_error", "rp_error", "bp_err", "rp_err")


@dataclass(frozen=True)
class XpPiece:
    """Columns that hold some coefficients or errors in a row: one array, or a number each."""

    variable: str
    """``xp`` or ``xp_error``."""
    start: int
    """Place of the first in the array of both bands."""
    size: int
    columns: tuple[str, ...]


def xp_pieces(
    names: list[str], given: Mapping[str, str | Sequence[str]], file: str
) -> list[XpPiece]:
    """Where the coefficients of a table stand.

    Parameters
    ----------
    given : variable -> column, beginning of the names of columns, or columns, of the configuration.

    Raises
    ------
    ColumnMissing : they are nowhere, or a column that is given is not there.
    """
    found = {name: _columns_of(names, name, given, file) for name in VARIABLES}
    bands = found["bp_coefficients"] or found["rp_coefficients"]
    if not found["xp"] and not bands:
        _refuse(names, file)
    whole = found["xp"] and not (bands and "xp" not in given)
    wanted = VARIABLES[:2] if whole else VARIABLES[2:]
    for name in () if whole else ("bp_coefficients", "rp_coefficients"):
        if not found[name]:
            find_column(names, name, file)  # raises: the other band is there
    return [XpPiece(*_PLACES[name], tuple(found[name])) for name in wanted if found[name]]


def _columns_of(
    names: list[str], variable: str, given: Mapping[str, str | Sequence[str]], file: str
) -> list[str]:
    """One column of arrays, or as many as there are coefficients; none if none is called so."""
    own = given.get(variable)
    if own is not None and not isinstance(own, str):
        return [find_column(names, name, file) for name in own]
    size = _PLACES[variable][2]
    for stem in _STEMS[variable] if own in (None, variable) else (own,):
        columns = wide_columns(names, stem)
        # A single column called "bp" is a magnitude.
        if len(columns) == size or (len(columns) == 1 and (own or stem not in _OF_MAGNITUDES)):
            return columns
    # A name that is the variable's own says no more than none.
    return [] if own in (None, variable) else [find_column(names, str(own), file)]


def _refuse(names: list[str], file: str) -> None:
    there = ", ".join(names[:12]) + (", ..." if len(names) > 12 else "")
    cure = "Name them in ingest.xp.columns: xp for both bands in one array, or one for each band."
    if look_for(names, "flux") is not None:
        cure = (
            "Sampled XP spectra (flux) are no coefficients: give their files as ingest.spectra, "
            "with ingest.grid (start: 336, step: 2, size: 343 in nm, as DataLink samples them)."
        )
    raise ColumnMissing(
        f"{file}, row 0 (header): there are no columns of XP coefficients",
        expected=f"bp_coefficients and rp_coefficients, bp_coeff_0 ..., or xp, beside {there}",
        cure=cure,
    )


def xp_blocks(
    table: BinaryTable | TextTable,
    identifier: str,
    pieces: Sequence[XpPiece],
    *,
    texts: bool,
    rows: int,
    ids: Array | None,
) -> Iterator[Block]:
    """Blocks with source_id, xp and xp_error [n, 110], BP first; NaN where a band is missing."""
    facts = text_facts(table) if isinstance(table, TextTable) else table.facts
    wide = all(len(piece.columns) == piece.size for piece in pieces)
    if isinstance(table, TextTable) and wide:
        names = {f"column/{name}": name for piece in pieces for name in piece.columns}
        selection = ColumnSelection(identifier, names, texts=texts)
        found = _of_numbers(table, selection, rows, ids)
    else:
        held = ArrayText(table, [identifier]) if isinstance(table, TextTable) else table
        found = _of_arrays(held, identifier, pieces, texts, rows)
    for block, columns in found:
        filled = _with_coefficients(block, columns, pieces, facts)
        good = filled.columns["source_id"] > 0
        yield filled.take(good & member_of(filled.columns["source_id"], ids), filled.rejected)


def _of_numbers(
    table: TextTable, selection: ColumnSelection, rows: int, ids: Array | None
) -> Iterator[tuple[Block, dict[str, Array]]]:
    for block in text_blocks(table, selection, rows=rows, ids=ids):
        values = {name: block.columns[key] for key, name in selection.names.items()}
        stars = {key: v for key, v in block.columns.items() if key not in selection.names}
        yield replace(block, columns=stars), values


def _of_arrays(
    table: BinaryTable | ArrayText,
    identifier: str,
    pieces: Sequence[XpPiece],
    texts: bool,
    rows: int,
) -> Iterator[tuple[Block, dict[str, Array]]]:
    every = list(dict.fromkeys([identifier, *(c for piece in pieces for c in piece.columns)]))
    for numbers, columns in table.blocks(rows, every):
        stars, rejected = identify(columns[identifier], numbers, table.name, texts=texts)
        unread = table.take_rejected() if isinstance(table, ArrayText) else ()
        yield Block(numbers, star_columns(stars), (*unread, *rejected)), columns


def _with_coefficients(
    block: Block, columns: Mapping[str, Array], pieces: Sequence[XpPiece], facts: TableFacts
) -> Block:
    out = {name: np.full((len(block), BOTH), np.nan, np.float32) for name in ("xp", "xp_error")}
    source_id = block.columns["source_id"].copy()
    rejected = list(block.rejected)
    for piece in pieces:
        first = piece.columns[0]
        if len(piece.columns) == 1:
            matrix, lengths, bad = arrays(columns[first], piece.size, first)
        else:
            matrix, bad = stacked(columns, piece.columns, facts.name)
            lengths = np.full(len(block), piece.size)
        reject(source_id, bad, block.rows, facts.name, rejected)
        matrix = _sigma(matrix, piece, pieces, facts)
        out[piece.variable][:, piece.start : piece.start + piece.size] = matrix
        for index in np.flatnonzero((lengths != piece.size) & (lengths > 0) & (source_id > 0)):
            detail = f"{first} has {lengths[index]} values, expected {piece.size}"
            row, star = int(block.rows[index]), int(source_id[index])
            rejected.append(Rejected(facts.name, row, star, Reason.ARRAY_LENGTH, detail))
            source_id[index] = 0
    return Block(block.rows, {**block.columns, "source_id": source_id, **out}, tuple(rejected))


def _sigma(matrix: Array, piece: XpPiece, pieces: Sequence[XpPiece], facts: TableFacts) -> Array:
    """Errors as standard deviations in the unit of the coefficients; these as they are."""
    if piece.variable == "xp":
        return matrix
    own = next(p for p in pieces if p.variable == "xp" and p.start == piece.start)
    columns = {"flux": own.columns[:1], "flux_error": piece.columns[:1]}
    stated = read_statements(facts, columns)
    kind = stated.error_kind.value if stated.error_kind else "standard deviation"
    unit, flux = (facts.units.get(one.columns[0], "") for one in (piece, own))
    try:
        return sigma_of(matrix, kind, unit, flux)
    except ValueError as problem:
        raise ScaleMismatch(
            f"{facts.name}: column {piece.columns[0]!r}, taken for the {kind} of "
            f"{own.columns[0]!r}: {problem}",
            expected="the unit of the coefficients, or its square",
            cure="Name another column in ingest.xp.columns, or correct the units of the file.",
        ) from None
