"""Files of every format for every reader, ways to damage them, and a judge of what then happens."""

import bz2
import gzip
import io
import lzma
import resource
import tempfile
import traceback
import warnings
import zipfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from astropy.io import fits
from astropy.io.votable import from_table, writeto
from astropy.table import Table

from distcnn.config import CutConfig, GridConfig, SpectraFilesConfig
from distcnn.errors import DistcnnError
from distcnn.ingest.readers import ReadRequest, make_reader
from distcnn.ingest.readers.formats.containers import collecting_notes

PIXELS, STARS = 5, 3
SECONDS_PER_INPUT = 10.0
MEMORY_BYTES = 1 << 30
"""Memory that a reader of a damaged small file may take on top of what the process holds."""
GRID = GridConfig(start=846.0, step=0.1, size=PIXELS)
OWN_GRID = GridConfig(unit="nm", medium="vacuum", frame="stellar rest")
"""For files that bring their wavelengths."""


@dataclass(frozen=True)
class Seed:
    """A sound small file and the reader that it is for."""

    reader: str
    kind: str
    name: str
    content: bytes
    columns: tuple[tuple[str, str], ...] = ()
    layout: Mapping[str, Any] | None = None
    """For the reader ``described``."""
    stars: int = STARS

    @property
    def title(self) -> str:
        """``gaia_xp xp x.fits``."""
        return f"{self.reader} {self.kind} {self.name}"

    def read(self, path: Path, *, only_first: bool = False) -> int:
        """All rows and rejected rows of a file, checked for their form.

        Raises
        ------
        DistcnnError : the file cannot be used.
        """
        cuts = (CutConfig(column="cut", minimum=0.0),) if self.kind == "labels" else ()
        grid_of_files = GRID if self.layout is None else OWN_GRID
        request = ReadRequest(self.kind, grid_of_files, ("G",), ("teff",), cuts)  # type: ignore[arg-type]
        files = SpectraFilesConfig.model_validate(
            {"reader": self.reader, "files": "*", "columns": dict(self.columns)}
            | ({} if self.layout is None else {"layout": self.layout})
        )
        reader = make_reader(files, request)
        if self.kind == "spectra":
            grid = reader.wavelength(path)  # type: ignore[attr-defined]
            # A damaged table of pixels may well hold fewer.
            fits_seed = len(grid) == PIXELS or self.layout is not None
            assert fits_seed, f"a grid of {len(grid)} pixels"
        count = 0
        ids = np.array([11], np.int64) if only_first else None
        with collecting_notes() as notes:
            for block in reader.blocks(path, rows=2, ids=ids):
                lengths = {len(values) for values in block.columns.values()} | {len(block)}
                assert len(lengths) == 1, f"columns of {sorted(lengths)} rows"
                assert (block.columns["source_id"] > 0).all(), "a source_id is not positive"
                for row in block.rejected:
                    assert row.detail, "a rejected row gives no reason"
                count += len(block) + len(block.rejected)
        return count + len(notes.unusable)


# --- sound files -------------------------------------------------------------------------------


def _fits(table: Table, *, ascii_table: bool = False) -> bytes:
    stream = io.BytesIO()
    unit = fits.TableHDU.from_columns if ascii_table else fits.table_to_hdu
    if ascii_table:
        columns = [fits.Column(n, "I20" if n == "source_id" else "F12.5", array=table[n])
                   for n in table.colnames]  # fmt: skip
        hdu = unit(columns)
    else:
        hdu = unit(table)
    fits.HDUList([fits.PrimaryHDU(), hdu]).writeto(stream)
    return stream.getvalue()


def _votable(table: Table, tabledata_format: str = "tabledata") -> bytes:
    stream = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        writeto(from_table(table), stream, tabledata_format=tabledata_format)
    return stream.getvalue()


def _parquet(table: Table) -> bytes:
    stream = io.BytesIO()
    columns = {name: list(table[name]) for name in table.colnames}
    pq.write_table(pa.table(columns), stream)
    return stream.getvalue()


def _hdf5(table: Table) -> bytes:
    stream = io.BytesIO()
    with h5py.File(stream, "w", libver="latest") as file:
        for name in table.colnames:
            file[name] = np.asarray(table[name])
        file.attrs["VACUUM"] = True
    return stream.getvalue()


def _text(table: Table, *, ecsv: bool = False) -> bytes:
    def text(value: object) -> str:
        return f'"[{",".join(map(str, value))}]"' if np.ndim(value) else str(value)  # type: ignore[arg-type, call-overload]

    head = ["# %ECSV 1.0", "# ---", "# delimiter: ','", "# datatype:"] if ecsv else []
    head += [f"# - {{name: {n}, datatype: float64}}" for n in table.colnames] if ecsv else []
    rows = [",".join(map(text, row)) for row in table]
    return "\n".join([*head, ",".join(table.colnames), *rows, ""]).encode()


def _zip(**members: bytes) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name.replace("__", "."), content)
    return stream.getvalue()


def _zstd(content: bytes) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.CompressedOutputStream(sink, "zstd") as stream:
        stream.write(content)
    packed: bytes = sink.getvalue().to_pybytes()
    return packed


def _aligned(table: Table, form: str) -> bytes:
    stream = io.StringIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        table.write(stream, format=form)
    return stream.getvalue().encode()


def _vizier(table: Table) -> bytes:
    lines = _text(table).decode().replace(",", "\t").splitlines()
    below = ["\t".join(["mag"] * len(table.colnames)), "\t".join(["---"] * len(table.colnames))]
    return "\n".join(["#RESOURCE=x", lines[0], *below, *lines[1:], ""]).encode()


def _wide(ids: np.ndarray) -> Table:
    columns = {f"xp_{n}": np.full(len(ids), 1.5) for n in range(110)}
    return Table({"source_id": ids, **columns})


def _variable_fits(table: Table) -> bytes:
    names = [n for n in table.colnames if n not in ("flux", "flux_error")]
    columns = [fits.Column(n, "K" if n == "source_id" else "D", array=table[n]) for n in names]
    for name in ("flux", "flux_error"):
        rows = np.array([None] * len(table), object)
        rows[:] = [np.array(row, "f4") for row in table[name]]
        columns.append(fits.Column(name, "PE()", array=rows))
    stream = io.BytesIO()
    fits.HDUList([fits.PrimaryHDU(), fits.BinTableHDU.from_columns(columns)]).writeto(stream)
    return stream.getvalue()


def seeds() -> list[Seed]:
    """A sound small file for every reader, kind and format."""
    ids = np.arange(11, 11 + STARS)
    flux = 1 + np.arange(STARS * PIXELS, dtype="f4").reshape(STARS, PIXELS) / 100
    place = {"ra": np.full(STARS, 10.5), "dec": np.full(STARS, -5.25)}
    raw = Table({"source_id": ids, **place, "flux": flux, "flux_error": flux / 50, "n": ids})
    own = {"source_id": np.repeat(ids, PIXELS), "ra": np.full(ids.size * PIXELS, 10.5)}
    wave = np.tile(846.0 + 0.1 * np.arange(PIXELS), STARS)
    pixels = Table(own | {"wavelength": wave, "flux": flux.ravel(), "flux_error": flux.ravel()})
    five = np.full((STARS, 55), 1.5, "f4")
    names = ("bp_coefficients", "bp_coefficient_errors", "rp_coefficients", "rp_coefficient_errors")
    xp = Table({"source_id": ids, **dict.fromkeys(names, five), "n": ids})
    stars = {name: np.arange(3.0) + 1 for name in ("parallax", "parallax_error", "G")}
    source = Table({"source_id": ids, **place, **stars})
    labels = Table({"source_id": ids, "teff": [5000.0, 4000.5, 6000.0], "cut": [1, 0, 2]})
    apogee = Table({"GAIAEDR3_SOURCE_ID": ids, "TEFF": labels["teff"], "cut": [1, 0, 2]})
    apogee["APOGEE_ID"] = ["a", "bb", "ccc"]
    named = Table({"source_id": ["HD 1", "17", "Sun"], "flux": flux, "n": ids})
    found = [
        *_in_formats("gaia_rvs", "spectra", raw),
        *_in_formats("gaia_rvs_datalink", "spectra", pixels),
        *_in_formats("gaia_xp", "xp", xp),
        *_in_formats("gaia_source", "source", source),
        *_in_formats("table", "spectra", raw),
        *_in_formats("table", "source", source),
        *_in_formats("table", "labels", labels),
        Seed("apogee", "labels", "allStar.fits", _fits(apogee)),
        Seed("apogee", "labels", "allStar.fits.gz", gzip.compress(_fits(apogee), mtime=0)),
        Seed("table", "spectra", "names.fits", _fits(named)),
        Seed("table", "spectra", "names.csv", _text(named)),
        Seed("table", "spectra", "variable.fits", _variable_fits(raw)),
        Seed("table", "source", "ascii.fits", _fits(source, ascii_table=True)),
        Seed("table", "source", "x.csv.bz2", bz2.compress(_text(source))),
        Seed("table", "source", "x.csv.xz", lzma.compress(_text(source))),
        Seed("table", "source", "x.csv.zst", _zstd(_text(source))),
        Seed("table", "source", "x.fits.xz", lzma.compress(_fits(source))),
        Seed("table", "source", "x.tbl", _aligned(source, "ascii.ipac")),
        Seed("table", "source", "x.mrt", _aligned(source, "ascii.mrt")),
        Seed("table", "source", "vizier.tsv", _vizier(source)),
        Seed("table", "xp", "wide.csv", _text(_wide(ids))),
        Seed("table", "xp", "x.parquet", _parquet(xp)),
    ]
    combined = _votable(pixels).replace(b"</TABLE>", b"</TABLE>" + _element(_votable(pixels)))
    found.append(Seed("gaia_rvs_datalink", "spectra", "RVS_COMBINED.xml", combined))
    return [*found, *_described(ids, flux)]


def _described(ids: np.ndarray, flux: np.ndarray) -> Iterator[Seed]:
    """A sound file of every shape that a layout describes."""
    wave = 846.0 + 0.1 * np.arange(PIXELS)
    own = {"flux": "flux", "error": "ivar", "wavelength": "wave", "masks": [{"place": "mask"}],
           "id": {"column": "star"}}  # fmt: skip
    cells = {"flux": flux, "ivar": flux, "wave": np.tile(wave, (STARS, 1)),
             "mask": np.zeros(flux.shape, "i2")}  # fmt: skip
    rows = _fits(Table({"star": ids, **cells}))
    layout = {"shape": "row_per_star", **own}
    yield Seed("described", "spectra", "rows.fits", rows, (), layout)
    packed = gzip.compress(rows, mtime=0)
    yield Seed("described", "spectra", "rows.fits.gz", packed, (), layout)
    yield Seed("described", "spectra", "rows.parquet", _parquet(Table({"star": ids, **cells})), (),
               layout)  # fmt: skip
    yield Seed("described", "spectra", "rows.h5", _hdf5(Table({"star": ids, **cells})), (), layout)
    long = Table({"star": np.repeat(ids, PIXELS), **{n: v.ravel() for n, v in cells.items()}})
    layout = {"shape": "row_per_pixel", **own}
    yield Seed("described", "spectra", "pixels.fits", _fits(long), (), layout)
    yield Seed("described", "spectra", "pixels.csv", _text(long), (), layout)
    yield _image_rows(wave, flux, ids)
    yield _images_of_arms(wave, flux, ids)


def _image_rows(wave: np.ndarray, flux: np.ndarray, ids: np.ndarray) -> Seed:
    hdu = fits.PrimaryHDU(np.array([flux[0], flux[0], wave, 0 * wave], "f4"))
    hdu.header["OBSID"] = int(ids[0])
    stream = io.BytesIO()
    hdu.writeto(stream)
    layout = {"shape": "image_rows", "flux": 0, "error": 1, "error_kind": "ivar", "wavelength": 2,
              "masks": [{"place": 3, "drop": [0]}], "id": {"header": "OBSID"}}  # fmt: skip
    return Seed("described", "spectra", "image.fits", stream.getvalue(), (), layout, 1)


def _images_of_arms(wave: np.ndarray, flux: np.ndarray, ids: np.ndarray) -> Seed:
    hdus: list[Any] = [fits.PrimaryHDU()]
    for arm, part in (("B", slice(0, 3)), ("R", slice(2, PIXELS))):
        mask = np.zeros((STARS, len(wave[part])), "u4")
        for name, values in (("FLUX", flux[:, part]), ("SIGMA", flux[:, part]),
                             ("WAVE", wave[part]), ("MASK", mask)):  # fmt: skip
            hdus.append(fits.ImageHDU(values, name=f"{arm}_{name}"))
    hdus.append(fits.table_to_hdu(Table({"ID": ids})))
    hdus[-1].name = "MAP"
    stream = io.BytesIO()
    fits.HDUList(hdus).writeto(stream)
    layout = {"shape": "image_per_quantity", "flux": "{arm}_FLUX", "error": "{arm}_SIGMA",
              "error_kind": "sigma", "wavelength": "{arm}_WAVE", "arms": ["B", "R"],
              "masks": [{"place": "{arm}_MASK"}], "id": {"column": "ID", "hdu": "MAP"},
              "overlap": "first"}  # fmt: skip
    return Seed("described", "spectra", "arms.fits", stream.getvalue(), (), layout)


def _element(document: bytes) -> bytes:
    return document[document.index(b"<TABLE") : document.index(b"</TABLE>") + 8].replace(
        b'ID="', b'ID="second_'
    )


def _in_formats(reader: str, kind: str, table: Table) -> Iterator[Seed]:
    text = _text(table)
    yield Seed(reader, kind, "x.csv", text)
    yield Seed(reader, kind, "x.csv.gz", gzip.compress(text, mtime=0))
    yield Seed(reader, kind, "x.ecsv", _text(table, ecsv=True))
    yield Seed(reader, kind, "x.fits", _fits(table))
    yield Seed(reader, kind, "x.xml", _votable(table))
    yield Seed(reader, kind, "binary.xml", _votable(table, "binary2"))
    yield Seed(reader, kind, "x.zip", _zip(a__csv=text, b__fits=_fits(table)))
    if reader != "gaia_xp":
        yield Seed(reader, kind, "x.parquet", _parquet(table))
        yield Seed(reader, kind, "x.h5", _hdf5(table))


# --- damage ------------------------------------------------------------------------------------


def truncated(content: bytes, rng: np.random.Generator) -> bytes:
    """The beginning of a file."""
    return content[: int(rng.integers(0, len(content) + 1))]


def flipped(content: bytes, rng: np.random.Generator) -> bytes:
    """A file with one to eight bits turned over."""
    data = bytearray(content)
    for place in rng.integers(0, max(len(data), 1), rng.integers(1, 9)):
        if data:
            data[place] ^= 1 << int(rng.integers(8))
    return bytes(data)


def spliced(content: bytes, rng: np.random.Generator) -> bytes:
    """A file with a piece of itself copied over, put between, or cut out elsewhere."""
    start, stop = sorted(rng.integers(0, len(content) + 1, 2).tolist())
    piece = content[start : min(stop, start + int(rng.integers(1, 200)))]
    place = int(rng.integers(0, len(content) + 1))
    after = place + (len(piece) if rng.random() < 0.5 else 0)
    piece = b"" if rng.random() < 0.3 else piece
    return content[:place] + piece + content[after:]


_TOKENS = (b"99999999999", b"-1", b"0", b"nan", b"inf", b'"', b"'", b"[", b"]", b",", b"\n", b"\0",
           b"\xff\xfe", b"<", b">", b"null", b"1e400", b"#", b"T", b" " * 80)  # fmt: skip


def with_token(content: bytes, rng: np.random.Generator) -> bytes:
    """A file with something awkward written over a few of its bytes, or put between."""
    place = int(rng.integers(0, len(content) + 1))
    token = _TOKENS[int(rng.integers(len(_TOKENS)))]
    return content[:place] + token + content[place + (len(token) if rng.random() < 0.6 else 0) :]


DAMAGES: tuple[Callable[[bytes, np.random.Generator], bytes], ...] = (
    truncated,
    flipped,
    spliced,
    with_token,
)


def damaged(seed: Seed, rng: np.random.Generator) -> bytes:
    """The file damaged in one way; of a packed file sometimes what is inside, packed again."""
    damage = DAMAGES[int(rng.integers(len(DAMAGES)))]
    inside = rng.random() < 0.6
    if inside and seed.name.endswith(".gz"):
        return gzip.compress(damage(gzip.decompress(seed.content), rng), 1, mtime=0)
    if inside and seed.name.endswith(".zip"):
        with zipfile.ZipFile(io.BytesIO(seed.content)) as archive:
            members = {name.replace(".", "__"): archive.read(name) for name in archive.namelist()}
        return _zip(**{name: damage(content, rng) for name, content in members.items()})
    return damage(seed.content, rng)


# --- the judge ---------------------------------------------------------------------------------


def outcome(seed: Seed, path: Path, *, only_first: bool = False) -> tuple[str, str]:
    """``rows``, ``error``, or a finding: ``exception`` with its place, ``cureless``, ``memory``."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            seed.read(path, only_first=only_first)
    except DistcnnError as error:
        if not (error.cure or error.expected):
            return "cureless", str(error)
        if "MemoryError" in str(error) or "allocate" in str(error):
            return "memory", str(error)
        return "error", type(error).__name__
    except BaseException as error:  # what a user would see as a traceback
        frame = next(
            (
                f
                for f in reversed(traceback.extract_tb(error.__traceback__))
                if "distcnn" in f.filename
            ),
            None,
        )
        where = f"{Path(frame.filename).name}:{frame.lineno}" if frame else ""
        return "exception", f"{type(error).__name__} at {where}: {str(error)[:160]}"
    return "rows", ""


def _serve(pipe: Connection, catalogue: list[Seed]) -> None:
    """Child process: judges the inputs that come through the pipe, in bounded memory."""
    with tempfile.TemporaryDirectory() as folder:
        for seed in catalogue:  # libraries take address space for themselves when they begin
            (Path(folder) / seed.name).write_bytes(seed.content)
            outcome(seed, Path(folder) / seed.name)
        held = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (held + MEMORY_BYTES, held + MEMORY_BYTES))
        while True:
            try:
                number, content, only_first = pipe.recv()
            except EOFError:
                return
            seed = catalogue[number]
            path = Path(folder) / seed.name
            path.write_bytes(content)
            pipe.send(outcome(seed, path, only_first=only_first))


class Judge:
    """Judges damaged files in a child process, which is started anew when it hangs or dies."""

    def __init__(self, catalogue: list[Seed]) -> None:
        self.catalogue = catalogue
        self._start()

    def _start(self) -> None:
        context = get_context("spawn")
        self.pipe, theirs = context.Pipe()
        self.process = context.Process(target=_serve, args=(theirs, self.catalogue), daemon=True)
        self.process.start()
        theirs.close()

    def judge(self, number: int, content: bytes, *, only_first: bool = False) -> tuple[str, str]:
        """The outcome of one input, ``hang`` and ``crash`` among them."""
        found = ("hang", f"no answer in {SECONDS_PER_INPUT:g} s")
        try:
            self.pipe.send((number, content, only_first))
            # The first answer waits for the child to start.
            if self.pipe.poll(SECONDS_PER_INPUT + 50):
                return tuple(self.pipe.recv())  # type: ignore[return-value]
        except (EOFError, OSError):
            self.process.join(5)
            found = ("crash", f"the process ended with {self.process.exitcode}")
        self.close()
        self._start()
        return found

    def close(self) -> None:
        """End the child process, which removes its files if it still listens."""
        self.pipe.close()
        self.process.join(2)
        self.process.kill()
        self.process.join()
