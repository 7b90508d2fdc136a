"""The archive's text: ECSV header, rows, arrays as quoted lists, deterministic gzip."""

from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import orjson
from isal import isal_zlib

from distcnn.simulate.files.gaia_columns import ArchiveColumn

_GZIP_WINDOW = 31
_LEVEL = 1


def header(columns: Sequence[ArchiveColumn]) -> bytes:
    """ECSV 1.0 header lines and the line of column names."""
    lines = ["# %ECSV 1.0", "# ---", "# delimiter: ','", "# datatype:"]
    for column in columns:
        lines += ["# -", f"#   name: {column.name}", f"#   datatype: {column.datatype}"]
        if column.subtype:
            lines.append(f"#   subtype: '{column.subtype}'")
        if column.unit:
            lines.append(f"#   unit: {column.unit}")
        lines += [f"#   description: {column.description}", "#   meta:", f"#     ucd: {column.ucd}"]
    lines.append(",".join(column.name for column in columns))
    return ("\n".join(lines) + "\n").encode()


def scalars(values: np.ndarray) -> list[bytes]:
    """One token per value: shortest exact decimal, ``null`` for NaN, True/False, quoted text."""
    if values.dtype.kind in "fiu":
        text = orjson.dumps(np.ascontiguousarray(values), option=orjson.OPT_SERIALIZE_NUMPY)
        return text[1:-1].split(b",") if values.size else []
    if values.dtype.kind == "b":
        return [b"True" if value else b"False" for value in values]
    return [b'"' + str(value).encode() + b'"' for value in values]


def arrays(values: np.ndarray) -> list[bytes]:
    """One quoted list per row of ``[N, n]`` floats, with NaN tokens."""
    rows = np.ascontiguousarray(values)
    texts = (orjson.dumps(row, option=orjson.OPT_SERIALIZE_NUMPY) for row in rows)
    return [b'"' + text.replace(b"null", b"NaN") + b'"' for text in texts]


def rows(columns: Sequence[ArchiveColumn], tokens: Mapping[str, list[bytes]]) -> bytes:
    """Rows of text, the columns in their order."""
    lines = map(b",".join, zip(*(tokens[column.name] for column in columns), strict=True))
    return b"".join(line + b"\n" for line in lines)


def compress(pieces: Iterable[bytes]) -> bytes:
    """One gzip member without name or time stamp, so that equal text gives equal bytes."""
    engine = isal_zlib.compressobj(_LEVEL, isal_zlib.DEFLATED, _GZIP_WINDOW)
    packed = [engine.compress(piece) for piece in pieces]
    return b"".join([*packed, engine.flush()])
