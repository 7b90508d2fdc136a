"""Files of every format with every feature that tables have, all holding the same three stars."""

import bz2
import gzip
import io
import lzma
from collections.abc import Callable
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from astropy import units as u
from astropy.io import fits
from astropy.table import MaskedColumn, QTable, Table

STARS = [4295806720, 34361129088, 38655544960]
MAGNITUDES = [9.5, 10.25, 11.0]
FLUX = np.array([[1.0, 2.0, 3.0, 4.0], [5.0, 6.0, 7.0, 8.0], [1.5, 2.5, 3.5, 4.5]])
SCALARS, ARRAYS = ("source", "labels"), ("spectra",)
BOTH = SCALARS + ARRAYS


@dataclass(frozen=True)
class Feature:
    """A file of three stars, with magnitude ``G`` or flux, and the settings that read it."""

    format: str
    name: str
    write: Callable[[Path, str], str]
    """Given a folder and a role, writes the file and gives its name."""
    roles: tuple[str, ...] = BOTH
    settings: dict[str, Any] = field(default_factory=dict)

    @property
    def title(self) -> str:
        """``text: tabs``."""
        return f"{self.format}: {self.name}"


def values_of(role: str) -> tuple[str, list[Any]]:
    """Name and values of the column that a role reads."""
    return ("flux", FLUX.tolist()) if role == "spectra" else ("G", MAGNITUDES)


# --- text --------------------------------------------------------------------------------------


def cells(role: str, quote: bool = False) -> list[list[str]]:
    """Header and rows as texts; arrays are quoted."""
    name, values = values_of(role)
    shown = [f'"{value}"' if isinstance(value, list) else str(value) for value in values]
    rows = [["source_id", name], *([str(s), v] for s, v in zip(STARS, shown, strict=True))]
    if quote:
        rows = [[text if text.startswith('"') else f'"{text}"' for text in row] for row in rows]
    return rows


def lines(role: str, delimiter: str = ",", quote: bool = False) -> list[str]:
    return [delimiter.join(row) for row in cells(role, quote)]


def text(change: Callable[[str], list[str] | bytes], name: str = "t.csv"):
    """A writer of the lines or bytes that ``change`` makes for a role."""

    def write(folder: Path, role: str) -> str:
        made = change(role)
        content = made if isinstance(made, bytes) else "\n".join([*made, ""]).encode()
        (folder / name).write_bytes(content)
        return name

    return write


def plain(role: str) -> bytes:
    return "\n".join([*lines(role), ""]).encode()


def vizier(role: str, delimiter: str = "\t") -> list[str]:
    header, *rows = lines(role, delimiter)
    return ["#RESOURCE=x", "#Column\tsource_id\t(I19)", "", header, f"{delimiter}mag",
            f"-----------{delimiter}-----", *rows, ""]  # fmt: skip


def zstd(content: bytes) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.CompressedOutputStream(sink, "zstd") as stream:
        stream.write(content)
    return sink.getvalue().to_pybytes()


PACKERS = {"gzip": gzip.compress, "bzip2": bz2.compress, "xz": lzma.compress, "zstd": zstd}
ENDS = {"gzip": "gz", "bzip2": "bz2", "xz": "xz", "zstd": "zst"}

TEXT = [
    Feature("text", "commas", text(lines)),
    Feature("text", "byte order mark", text(lambda r: b"\xef\xbb\xbf" + plain(r))),
    Feature("text", "CR LF", text(lambda r: plain(r).replace(b"\n", b"\r\n"))),
    Feature("text", "no newline at the end", text(lambda r: plain(r)[:-1])),
    Feature("text", "empty lines", text(lambda r: ["", *lines(r)[:2], "", *lines(r)[2:], ""])),
    Feature("text", "every field quoted", text(lambda r: lines(r, quote=True))),
    Feature("text", "quoted and CR LF", text(
        lambda r: "\r\n".join([*lines(r, quote=True), ""]).encode())),
    Feature("text", "blanks after commas", text(lambda r: lines(r, ", "))),
    Feature("text", "a comma at the end of every line", text(
        lambda r: [f"{s}," for s in lines(r)])),
    Feature("text", "a comma at the end of rows", text(
        lambda r: [lines(r)[0], *(f"{s}," for s in lines(r)[1:])])),
    Feature("text", "comments", text(lambda r: ["# a", "# b, c", *lines(r)])),
    Feature("text", "the header behind a #", text(lambda r: [f"# {lines(r)[0]}", *lines(r)[1:]])),
    Feature("text", "sep=; of Excel", text(lambda r: ["sep=;", *lines(r, ";")])),
    Feature("text", "tabs", text(lambda r: lines(r, "\t"), "t.tsv")),
    Feature("text", "semicolons", text(lambda r: lines(r, ";"))),
    Feature("text", "bars", text(lambda r: lines(r, "|"), "t.txt")),
    Feature("text", "bars at both ends", text(
        lambda r: [f"|{s}|" for s in lines(r, "|")], "t.txt")),
    Feature("text", "blanks", text(lambda r: lines(r, "   "), "t.dat"), SCALARS),
    Feature("text", "a comma in the name of a column", text(
        lambda r: [f'{s};{e}' for s, e in zip(lines(r, ";"), ['"a, b"', 1, 2, 3], strict=True)])),
    Feature("text", "units and dashes of VizieR", text(vizier, "t.tsv")),
    Feature("text", "the same with semicolons", text(lambda r: vizier(r, ";"))),
    Feature("text", "types of RDB", text(
        lambda r: [lines(r, "\t")[0], "10N\t20S", *lines(r, "\t")[1:]], "t.rdb")),
    Feature("text", "dashes alone", text(
        lambda r: [lines(r, " ")[0], "---- ----", *lines(r, " ")[1:]], "t.txt"), SCALARS),
    Feature("text", "decimal commas", text(
        lambda r: [s.replace(".", ",") for s in lines(r, ";")]), SCALARS, {"decimal": ","}),
    Feature("text", "other columns of one name", text(
        lambda r: [f"{s},{'1,2' if n else 'x,x'}" for n, s in enumerate(lines(r))])),
    Feature("text", "names in capital letters", text(
        lambda r: [lines(r)[0].upper(), *lines(r)[1:]])),
    Feature("text", "Latin-1 in the header", text(
        lambda r: plain(r).replace(b"\n", b",T\xe9\n", 1).replace(b"\n", b",1\n").replace(
            b"T\xe9,1\n", b"T\xe9\n"))),
    Feature("text", "identifiers as Excel keeps them", text(
        lambda r: [s if n == 0 else f'"=""{s.partition(",")[0]}""",{s.partition(",")[2]}'
                   for n, s in enumerate(lines(r))])),
    Feature("text", "doubles of Fortran", text(
        lambda r: [f"{s},{e}" for s, e in zip(
            ["source_id", *STARS], ["G", "0.95D+01", "1.025d1", "11"], strict=True)]), SCALARS),
    *(Feature("text", f"packed by {name}", text(
        lambda r, p=pack: p(plain(r)), f"t.csv.{ENDS[name]}"))
      for name, pack in PACKERS.items()),
    *(Feature("text", f"packed by {name}, called .csv", text(lambda r, p=pack: p(plain(r))))
      for name, pack in PACKERS.items()),
]  # fmt: skip


# --- tables of astropy -------------------------------------------------------------------------


def table(role: str, **more: Any) -> Table:
    name, values = values_of(role)
    return Table({"source_id": np.array(STARS), name: np.array(values), **more})


def astropy(form: str, name: str, make: Callable[[str], Table] = table, **options: Any):
    """A writer by astropy."""

    def write(folder: Path, role: str) -> str:
        make(role).write(folder / name, format=form, **options)
        return name

    return write


def with_unit(role: str) -> QTable:
    name, values = values_of(role)
    unit = u.mag if name == "G" else u.Unit("1e-17 W / (m2 nm)")
    return QTable({"source_id": STARS, name: np.array(values) * unit})


def one_by_one(role: str) -> Table:
    """Columns of shape (n, 1)."""
    made = table(role)
    for name in made.colnames:
        made[name] = np.asarray(made[name])[:, None]
    return made


def packed(write: Callable[[Path, str], str], pack: Callable[[bytes], bytes], name: str):
    """What a writer has written, packed, under another name."""

    def again(folder: Path, role: str) -> str:
        path = folder / write(folder, role)
        content = pack(path.read_bytes())
        path.unlink()
        (folder / name).write_bytes(content)
        return name

    return again


ECSV = [
    Feature("ecsv", "blanks", astropy("ascii.ecsv", "t.ecsv")),
    Feature("ecsv", "commas", astropy("ascii.ecsv", "t.ecsv", delimiter=",")),
    Feature("ecsv", "called .csv", astropy("ascii.ecsv", "t.csv")),
    Feature("ecsv", "quantities", astropy("ascii.ecsv", "t.ecsv", with_unit)),
    Feature("ecsv", "columns of shape (n, 1)", astropy("ascii.ecsv", "t.ecsv", one_by_one)),
]
ALIGNED = [
    Feature("aligned", "IPAC", astropy("ascii.ipac", "t.tbl"), SCALARS),
    Feature("aligned", "IPAC called .txt", astropy("ascii.ipac", "t.txt"), SCALARS),
    Feature("aligned", "MRT of the journals", astropy("ascii.mrt", "t.mrt"), SCALARS),
    Feature("aligned", "MRT called .dat", astropy("ascii.mrt", "t.dat"), SCALARS),
]


# --- FITS --------------------------------------------------------------------------------------


def hdus(role: str, *before: Any) -> fits.HDUList:
    own = fits.table_to_hdu(table(role))
    own.name = "STARS"
    return fits.HDUList([fits.PrimaryHDU(), *before, own])


def other_table() -> fits.BinTableHDU:
    return fits.BinTableHDU(Table({"x": [1, 2]}), name="INFO")


def fits_file(change: Callable[[str], Any], name: str = "t.fits"):
    """A writer of an HDUList, an HDU, or bytes."""

    def write(folder: Path, role: str) -> str:
        made = change(role)
        if isinstance(made, bytes):
            (folder / name).write_bytes(made)
        else:
            made.writeto(folder / name)
        return name

    return write


def content_of(made: Any) -> bytes:
    stream = io.BytesIO()
    made.writeto(stream)
    return stream.getvalue()


def ascii_table(role: str) -> fits.TableHDU:
    ids = fits.Column("source_id", "I20", array=STARS)
    return fits.TableHDU.from_columns([ids, fits.Column("G", "F12.5", array=MAGNITUDES)])


def bad_card(role: str) -> bytes:
    """A malformed card in the primary header."""
    made = hdus(role)
    made[0].header["EXPOSURE"] = 1.5
    found = content_of(made)
    return found.replace(b"EXPOSURE=                  1.5", b"EXPOSURE=           1,5 or 'so")


def heap(form: str):
    def make(role: str) -> fits.BinTableHDU:
        rows = np.empty(3, object)
        rows[:] = [np.array(row, "f4") for row in FLUX]
        ids = fits.Column("source_id", "K", array=STARS)
        return fits.BinTableHDU.from_columns([ids, fits.Column("flux", f"{form}E()", array=rows)])

    return make


def scaled(role: str) -> bytes:
    """Integers with TSCAL, TZERO, TNULL and TDISP."""
    name, values = values_of(role)
    code = "4I" if role == "spectra" else "I"
    stored = np.round((np.array(values) - 1) / 0.25).astype("i2")
    made = fits.BinTableHDU.from_columns([
        fits.Column("source_id", "K", array=STARS),
        fits.Column(name, code, array=stored, null=-32768, disp="F8.3"),
    ])  # fmt: skip
    found = content_of(fits.HDUList([fits.PrimaryHDU(), made]))
    scale = b"TSCAL2  =                 0.25".ljust(80) + b"TZERO2  =                  1.0".ljust(
        80
    )
    return _with_cards(found, scale)


def _with_cards(found: bytes, cards: bytes) -> bytes:
    """Cards written into the padding behind the last END."""
    end = b"END" + b" " * 77
    place = found.index(end, 2880)
    return found[:place] + cards + end + found[place + 80 + len(cards) :]


def same_names(role: str) -> bytes:
    """Two other columns of one name."""
    found = content_of(hdus_of(table(role, x=[1.0, 2.0, 3.0], y=[1.0, 2.0, 3.0])))
    return found.replace(b"= 'y       '", b"= 'x       '")


def hdus_of(made: Table) -> fits.HDUList:
    return fits.HDUList([fits.PrimaryHDU(), fits.table_to_hdu(made)])


def masked_integers(role: str) -> Table:
    return table(role, flag=MaskedColumn([1, 2, 3], mask=[True, False, False]))


def image() -> fits.ImageHDU:
    return fits.ImageHDU(np.zeros((2, 2)), name="PREVIEW")


FITS = [
    Feature("fits", "binary table", fits_file(hdus)),
    Feature("fits", "the only table in HDU 2", fits_file(lambda r: hdus(r, image()))),
    Feature("fits", "HDU by number", fits_file(lambda r: hdus(r, other_table())), BOTH, {"hdu": 2}),
    Feature("fits", "HDU by name", fits_file(lambda r: hdus(r, other_table())), BOTH,
            {"hdu": "stars"}),
    Feature("fits", "behind a compressed image", fits_file(
        lambda r: hdus(r, fits.CompImageHDU(np.zeros((9, 9), "f4"))))),
    Feature("fits", "ASCII table", fits_file(ascii_table), SCALARS),
    Feature("fits", "a malformed card", fits_file(bad_card)),
    Feature("fits", "arrays of variable length (P)", fits_file(heap("P")), ARRAYS),
    Feature("fits", "arrays of variable length (Q)", fits_file(heap("Q")), ARRAYS),
    Feature("fits", "scaled integers", fits_file(scaled)),
    Feature("fits", "other columns of one name", fits_file(same_names)),
    Feature("fits", "quantities", astropy("fits", "t.fits", with_unit)),
    Feature("fits", "columns of shape (n, 1)", astropy("fits", "t.fits", one_by_one)),
    Feature("fits", "other columns masked", astropy("fits", "t.fits", masked_integers)),
    Feature("fits", "called .csv", fits_file(hdus, "t.csv")),
    *(Feature("fits", f"packed by {name}", packed(fits_file(hdus), pack, f"t.fits.{ENDS[name]}"))
      for name, pack in PACKERS.items()),
    *(Feature("fits", f"packed by {name}, called .fits", packed(fits_file(hdus), pack, "t.fits"))
      for name, pack in PACKERS.items()),
]  # fmt: skip


# --- VOTable -----------------------------------------------------------------------------------


def votable(role: str, *, param: bool = False, resources: int = 1, more: str = "") -> list[str]:
    """A VOTable by hand: TABLEs in RESOURCEs of their own, the second holding the stars."""
    name, values = values_of(role)
    size = ' arraysize="*"' if role == "spectra" else ""
    data = [" ".join(map(str, v)) if role == "spectra" else str(v) for v in values]
    rows = [f"<TR><TD>{s}</TD><TD>{v}</TD></TR>" for s, v in zip(STARS, data, strict=True)]
    fields = (
        f'<FIELD name="source_id" datatype="long"/><FIELD name="{name}" datatype="double"{size}/>'
    )
    if param:  # one star, named by a PARAM of the RESOURCE
        rows = [f"<TR><TD>{data[0]}</TD></TR>"]
        fields = fields.partition("/>")[2]
    other = ('<RESOURCE><TABLE name="info"><FIELD name="x" datatype="int"/><DATA><TABLEDATA><TR>'
             "<TD>1</TD></TR></TABLEDATA></DATA></TABLE></RESOURCE>")  # fmt: skip
    star = f'<PARAM name="source_id" datatype="long" value="{STARS[0]}"/>' if param else ""
    return ['<?xml version="1.0"?>', '<VOTABLE version="1.4">', other * (resources - 1),
            f'<RESOURCE>{star}<TABLE name="stars">{fields}{more}<DATA><TABLEDATA>', *rows,
            "</TABLEDATA></DATA></TABLE></RESOURCE></VOTABLE>"]  # fmt: skip


def votable_file(name: str = "t.vot", **options: Any):
    return text(lambda role: votable(role, **options), name)


def votable_names(role: str) -> Table:
    return table(role, comment=["a", "bb", "ccc"])


VOTABLE = [
    *(Feature("votable", form, astropy("votable", "t.vot", votable_names, tabledata_format=form))
      for form in ("tabledata", "binary", "binary2")),
    Feature("votable", "by hand", votable_file("t.xml")),
    Feature("votable", "TABLE by number", votable_file(resources=2), BOTH, {"hdu": 2}),
    Feature("votable", "TABLE by name", votable_file(resources=2), BOTH, {"hdu": "stars"}),
    Feature("votable", "quantities", astropy("votable", "t.vot", with_unit)),
    Feature("votable", "columns of shape (n, 1)", astropy("votable", "t.vot", one_by_one)),
    Feature("votable", "called .csv", votable_file("t.csv")),
    Feature("votable", "a mark and blanks before it", text(
        lambda r: "\n".join(["\ufeff", *votable(r)[1:]]).encode(), "t.vot")),
    *(Feature("votable", f"packed by {name}", packed(votable_file(), pack, f"t.vot.{ENDS[name]}"))
      for name, pack in PACKERS.items()),
    *(Feature("votable", f"packed by {name}, called .vot", packed(votable_file(), pack, "t.vot"))
      for name, pack in PACKERS.items()),
]  # fmt: skip


# --- Parquet -----------------------------------------------------------------------------------


def parquet(kind: Callable[[list[Any]], Any] = pa.array, name: str = "t.parquet", **options: Any):
    """A writer of a column of some type, in row groups of two rows."""

    def write(folder: Path, role: str) -> str:
        column, values = values_of(role)
        made = pa.table({"source_id": pa.array(STARS), column: kind(values)})
        pq.write_table(made, folder / name, row_group_size=2, **options)
        return name

    return write


def pandas(index: list[str]):
    def write(folder: Path, role: str) -> str:
        name, values = values_of(role)
        frame = pa.table({"source_id": STARS, name: values, "other": ["a", "b", "c"]}).to_pandas()
        frame.set_index(index).to_parquet(folder / "t.parquet")
        return "t.parquet"

    return write


def decimals(values: list[Any]) -> pa.Array:
    return pa.array([Decimal(str(value)) for value in values], pa.decimal128(10, 3))


def texts(values: list[Any]) -> list[str]:
    return [str(value) for value in values]


PARQUET = [
    Feature("parquet", "lists or doubles", parquet()),
    Feature("parquet", "decimals", parquet(decimals), SCALARS),
    Feature("parquet", "half precision", parquet(lambda v: pa.array(v, pa.float16())), SCALARS),
    Feature("parquet", "texts", parquet(texts)),
    Feature("parquet", "large texts", parquet(lambda v: pa.array(texts(v), pa.large_string()))),
    Feature("parquet", "bytes", parquet(lambda v: [one.encode() for one in texts(v)])),
    Feature("parquet", "a dictionary of doubles", parquet(
        lambda v: pa.array(v).dictionary_encode()), SCALARS),
    Feature("parquet", "a dictionary of texts", parquet(
        lambda v: pa.array(texts(v)).dictionary_encode())),
    Feature("parquet", "large lists", parquet(
        lambda v: pa.array(v, pa.large_list(pa.float32()))), ARRAYS),
    Feature("parquet", "lists of fixed size", parquet(
        lambda v: pa.array(v, pa.list_(pa.float32(), 4))), ARRAYS),
    Feature("parquet", "lists of integers", parquet(
        lambda v: pa.array([[int(2 * x) for x in row] for row in v])), ARRAYS),
    Feature("parquet", "lists in lists", parquet(lambda v: pa.array([[row] for row in v])), ARRAYS),
    Feature("parquet", "lists of one value", parquet(
        lambda v: pa.array([[x] for x in v])), SCALARS),
    Feature("parquet", "structs of lists", parquet(
        lambda v: pa.array([{"flux": row, "ivar": row} for row in v])), ARRAYS,
        {"columns": {"flux": "flux.flux"}}),
    Feature("parquet", "lists of structs", parquet(
        lambda v: pa.array([[{"f": x, "e": 0.1} for x in row] for row in v])), ARRAYS,
        {"columns": {"flux": "flux.f"}}),
    Feature("parquet", "an index of pandas", pandas(["source_id"])),
    Feature("parquet", "several indices of pandas", pandas(["source_id", "other"])),
    Feature("parquet", "quantities of astropy", astropy("parquet", "t.parquet", with_unit)),
    *(Feature("parquet", f"pages packed by {name}", parquet(compression=name))
      for name in ("snappy", "gzip", "brotli", "zstd", "lz4", "none")),
    Feature("parquet", "called .csv", parquet(name="t.csv")),
    *(Feature("parquet", f"packed by {name}", packed(parquet(), pack, f"t.parquet.{ENDS[name]}"))
      for name, pack in PACKERS.items()),
]  # fmt: skip

FEATURES = [*TEXT, *ECSV, *ALIGNED, *FITS, *VOTABLE, *PARQUET]
