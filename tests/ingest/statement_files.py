"""Tables that say something of themselves, in every format, and surveys made of them."""

import warnings
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from astropy import units
from astropy.io.votable import from_table
from astropy.io.votable.tree import Param
from astropy.table import Column, Table
from tiny_archive import settings

from distcnn.events import silent
from distcnn.executor import SerialExecutor
from distcnn.ingest.build import build_survey
from distcnn.survey import Region, Store

FORMATS = ("fits", "fits.gz", "vot", "parquet", "ecsv")
STARS, PIXELS = 4, 40
IDS = np.arange(11, 11 + STARS)
WAVES = np.round(846.0 + 0.01 * np.arange(PIXELS), 10)
FLUX = "1e-17 erg / (s cm2 Angstrom)"
LONE = {"source": None, "source_required": False, "xp": None, "labels": None, "grid": {}}
LONE |= {"prepare__rebin": 1, "block_rows": 3}


def flux_of(stars=STARS, pixels=PIXELS):
    rng = np.random.default_rng(1)
    flux = 1 + 0.01 * rng.standard_normal((stars, pixels))
    flux[:, 18:22] -= 0.4
    return flux


def error_of(flux):
    return np.linspace(0.01, 0.02, flux.shape[1])[None] + 0 * flux


def table_of(waves=WAVES, flux=None, **extra):
    """One row per star, wavelengths in a column; ``extra`` further or other columns."""
    flux = flux_of() if flux is None else flux
    columns = {"source_id": IDS, "flux": flux, "flux_error": error_of(flux)}
    if waves is not None:
        columns["wavelength"] = np.broadcast_to(waves, flux.shape).copy()
    return Table(columns | extra)


def write(table, path: Path):
    """The table in the format of the name, with its units, UCDs (``info.meta``) and metadata."""
    kind = path.suffixes[0].lstrip(".")
    if kind == "parquet":
        _write_parquet(table, path)
    elif kind == "vot":
        _write_votable(table, path)
    elif kind == "ecsv":
        _write_ecsv(table, path)
    else:
        plain = table.copy()
        for number, name in enumerate(plain.colnames, 1):
            if ucd := (plain[name].info.meta or {}).get("ucd"):
                plain.meta[f"TUCD{number}"] = ucd
        plain.write(path)


def _write_parquet(table, path):
    fields, arrays = [], []
    for name in table.colnames:
        values = pa.array(list(table[name].tolist()))
        about = {"unit": str(table[name].unit)} if table[name].unit is not None else {}
        about |= table[name].info.meta or {}
        fields.append(pa.field(name, values.type, metadata=about))
        arrays.append(values)
    meta = {key: str(value) for key, value in table.meta.items()}
    pq.write_table(pa.Table.from_arrays(arrays, schema=pa.schema(fields, metadata=meta)), path)


def _write_votable(table, path):
    document = from_table(table)
    (inner,) = document.iter_tables()
    for field in inner.fields:
        field.ucd = (table[field.name].info.meta or {}).get("ucd")
    for key, value in table.meta.items():
        kind = "double" if isinstance(value, float) else "char"
        size = {} if kind == "double" else {"arraysize": "*"}
        inner.params.append(Param(document, name=key, datatype=kind, value=str(value), **size))
    with warnings.catch_warnings():
        # VOUnit would rather have no Angstrom and no erg; archives have them.
        warnings.simplefilter("ignore", units.UnitsWarning)
        document.to_xml(str(path))


def _write_ecsv(table, path):
    lines = ["# %ECSV 1.0", "# ---", "# delimiter: ','", "# datatype:"]
    for name in table.colnames:
        unit = f", unit: {table[name].unit}" if table[name].unit is not None else ""
        ucd = (table[name].info.meta or {}).get("ucd")
        about = f", meta: {{ucd: {ucd}}}" if ucd else ""
        lines.append(f"# - {{name: {name}, datatype: float64{unit}{about}}}")
    if table.meta:
        lines.append("# meta: !!omap")
        lines += [f"# - {{{key}: {value}}}" for key, value in table.meta.items()]
    lines += ["# schema: astropy-2.0", ",".join(table.colnames)]
    for row in table:
        lines.append(",".join(field_text(value) for value in row))
    path.write_text("\n".join(lines) + "\n")


def field_text(value):
    if np.ndim(value):
        return '"[' + ",".join(repr(float(v)) for v in value) + ']"'
    return str(value)


def in_unit(values, unit, ucd=None):
    column = Column(values, unit=unit)
    if ucd:
        column.info.meta = {"ucd": ucd}
    return column


def config_of(table, **changes):
    """What reads the table from files whose names begin with s."""
    columns = {"wavelength": "wavelength"} if "wavelength" in table.colnames else {}
    columns |= changes.pop("columns", {})
    spectra = {"reader": "table", "files": "s*", "columns": columns}
    return settings(**{"spectra": spectra, **LONE, **changes})


def ingest(tmp_path, table, fmt, name="s", **changes):
    folder = tmp_path / name
    folder.mkdir(exist_ok=True)
    write(table, folder / f"s.{fmt}")
    survey = tmp_path / f"{name}.zarr"
    listener = changes.pop("listener", silent)
    config = config_of(table, **changes)
    build_survey(folder, survey, config, executor=SerialExecutor(), listener=listener)
    return Store.open(survey, "survey")


def content(store):
    return store.read(Region(0, store.stars)) | {"wavelength": store.coordinate("wavelength")}
