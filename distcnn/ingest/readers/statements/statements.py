"""What a file says of its own spectra: units, medium, frame, scale and kind of error.

The same question has another answer in each format: a FITS keyword (CUNIT1, SPECSYS, AIRORVAC),
the unit of a column (TUNIT, VOTable, ECSV, Parquet), a UCD, the name of a column. All are looked
up here and nowhere else; what follows from them stands in ``preprocess.statements``.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import pyarrow as pa
import yaml

from distcnn.config.survey.units import wavelength_unit
from distcnn.errors import GridMismatch
from distcnn.ingest.preprocess.statements import Statement, Statements
from distcnn.ingest.readers.statements.flux_units import (
    DIMENSIONLESS,
    kind_of_error,
    scaled_unit,
)

_TRUE = {"t", "true", "1", "yes", "y"}
_FALSE = {"f", "false", "0", "no", "n"}
# FITS paper III, table 19 (SPECSYS), and what archives write instead.
_FRAMES = {
    "stellar rest": ("source", "rest", "rest frame", "restframe", "stellar", "stellar rest"),
    "barycentric": ("barycent", "barycenter", "barycentre", "barycentric", "heliocen",
                    "heliocenter", "heliocentric", "helio", "bary"),
    "topocentric": ("topocent", "topocentric", "topo", "observer", "observed", "observatory"),
    "geocentric": ("geocentr", "geocentric"),
}  # fmt: skip
_FRAME_KEYS = ("SPECSYS", "SPECSYS1", "SPECSYSA", "FRAME", "WAVEFRAM", "WAVFRAME", "VELFRAME")
# LAMOST writes HELIO = T, SDSS the correction that it has applied, HELIO_RV.
_BARYCENTRIC_FLAGS = ("HELIO", "VHELIO", "HELIOCOR", "BARYCOR", "BARYCORR", "BERVCORR")
_BARYCENTRIC_VALUES = ("HELIO_RV",)
# Corrections to rest; IRAF's task dopcor numbers its records, DOPCOR01 and on.
_REST_FLAGS = ("RVCORR", "RVCORREC", "RV_CORR", "RVCOR", "RESTFRAM", "RESTFRAME")
_REST_RECORDS = ("DOPCOR01", "DOPCOR")
_MEDIUM_KEYS = ("AIRORVAC", "AIR_VAC", "AIRVAC", "VACORAIR", "MEDIUM", "WAVEMED", "WAVE_MED")
_MEDIUM_FLAGS = {"VACUUM": "vacuum", "INVACUUM": "vacuum", "ISVACUUM": "vacuum", "INAIR": "air"}
_NORMALISED_FLAGS = ("CONTNORM", "NORMALIZ", "NORMALIS", "NORMED", "NORMFLUX")
_UNIT_KEYS = ("CUNIT1", "WAVEUNIT", "WAVUNIT", "WUNIT", "UNIT_WAVE")
_FLUX_UNIT_KEYS = ("BUNIT", "FLUXUNIT", "FLUX_UNIT")
_LOG_NAME = re.compile(r"^(log_?10|log_?e|log|ln)_?(lam(bda)?|wave?(length)?s?|wl|w)$")
_ERROR_NAMES = (
    ("inverse variance", re.compile(r"(^|_)(ivar|invvar|inv_var|inverse_variance)(_|$)")),
    ("variance", re.compile(r"(^|_)(var|variance)(_|$)")),
)
_LOG_TEXT = re.compile(r"^(log_?10|log_?e|log|ln|dex)\b\s*[\[(]?\s*(.*?)\s*[\])]?$", re.IGNORECASE)
_NOTE = re.compile(r"\s*[(,]?\s*(in )?\b(air|vac|vacuum)\b\s*\)?$", re.IGNORECASE)
"""What programs write behind a unit: ``Angstrom (vacuum)``."""
_NO_UNIT = {*DIMENSIONLESS, "pixel", "pix"}


@dataclass(frozen=True)
class TableFacts:
    """What a table says besides its rows: header values, and units and UCDs of its columns."""

    name: str
    header: Mapping[str, Any] = field(default_factory=dict)
    units: Mapping[str, str] = field(default_factory=dict)
    ucds: Mapping[str, str] = field(default_factory=dict)

    @cached_property
    def _given(self) -> dict[str, str]:
        """Keywords in capitals -> as they stand there."""
        return {str(key).upper(): key for key in self.header}

    def lookup(self, keys: Iterable[str]) -> tuple[str, Any] | None:
        """The first of some keywords that has a value, in whatever case, and that value."""
        for key in keys:
            value = self.header.get(self._given.get(key, ""))
            if value is not None and str(value).strip():
                return key, value
        return None


def read_statements(
    facts: TableFacts, columns: Mapping[str, Sequence[str]], override: Sequence[str] = ()
) -> Statements:
    """All that a table states; ``columns``: variable -> the columns it is read from.

    Raises
    ------
    GridMismatch : it states a unit of wavelength that is none; unless ``unit`` is in ``override``.
    """
    believed = "unit" not in override
    unit, spacing = _unit(facts, columns.get("wavelength", ()), believe=believed)
    flux_unit = _flux_unit(facts, columns.get("flux", ()))
    error = columns.get("flux_error", ())
    medium, frame = _medium(facts, columns), _frame(facts)
    kind = _error(facts, error, flux_unit)
    # Units of errors are compared with those of flux, and override: [error] keeps from that, too.
    units_of_error = any(facts.units.get(column, "") for column in error[:1])
    said = {"unit": unit, "medium": medium, "frame": frame, "flux_unit": flux_unit, "error": kind}
    stated = {name for name, one in said.items() if one} | ({"error"} if units_of_error else set())
    overridden = tuple(name for name in override if name in stated)
    unit = unit if believed else None
    return Statements(unit, spacing, medium, frame, flux_unit, kind, overridden)


def _bare(column: str) -> str:
    """The name of a column without that of what it lies in (``spectrum.ivar``)."""
    return column.lower().rpartition(".")[2]


def _words(key: str, value: Any) -> str:
    return f"{key} = {value!r}"


def _unit(
    facts: TableFacts, columns: Sequence[str], *, believe: bool
) -> tuple[Statement | None, Statement | None]:
    """Unit of wavelength, and whether wavelengths are logarithms.

    Without ``believe`` a unit that is none is no error.
    """
    spacing = None
    if columns:
        stated = [(f"unit of {c}", facts.units[c]) for c in columns[:1] if c in facts.units]
        name_of_log = _LOG_NAME.match(_bare(columns[0]))
        if name_of_log is not None:
            spacing = Statement(logarithm(name_of_log[1]), f"column {columns[0]}")
    else:
        found = facts.lookup(_UNIT_KEYS)
        stated = [(found[0], str(found[1]))] if found else _param_units(facts)
    for where, text in stated:
        core = _NOTE.sub("", text.strip().strip("'\"[]")).strip(" .")
        if core.lower() in _NO_UNIT:
            continue
        match = _LOG_TEXT.match(core)
        if match is not None:
            spacing, core = Statement(logarithm(match[1]), _words(where, text)), match[2]
        if core.lower() in _NO_UNIT:
            continue
        try:
            name = scaled_unit(core) or wavelength_unit(core)
            return Statement(name, _words(where, text)), spacing
        except ValueError as error:
            if not believe:
                return Statement(core, _words(where, text)), spacing
            raise GridMismatch(
                f"{facts.name}: {_words(where, text)} is the unit of its wavelengths",
                expected=str(error),
                cure="If the file is wrong, give the unit in ingest.grid.unit and set "
                "ingest.override: [unit].",
            ) from None
    return None, spacing


def logarithm(word: str) -> str:
    """Which logarithm a word means: ``log10``, ``ln``, or ``log`` where its base is not said."""
    word = word.lower()
    if "10" in word or "dex" in word:
        return "log10"
    return "ln" if re.search(r"(^|[^a-z])ln|log_?e|natural", word) else "log"


def _param_units(facts: TableFacts) -> list[tuple[str, str]]:
    """Units of VOTable's PARAMs that give the grid."""
    given = {key.upper(): key for key in facts.units}
    return [
        (f"unit of {key}", facts.units[given[key]]) for key in ("CRVAL1", "WAVE0") if key in given
    ]


def _medium(facts: TableFacts, columns: Mapping[str, Sequence[str]]) -> Statement | None:
    return (
        _medium_by_word(facts)
        or _medium_by_flag(facts)
        or _medium_by_axis(facts)
        or _medium_by_unit(facts, columns)
        or _medium_by_column(facts, columns.get("wavelength", ()))
    )


def _medium_by_word(facts: TableFacts) -> Statement | None:
    found = facts.lookup(_MEDIUM_KEYS)
    text = str(found[1]).strip().lower() if found else ""
    for medium in ("vacuum", "air"):
        if found and text.startswith(medium[:3]):
            return Statement(medium, _words(*found))
    return None


def _medium_by_flag(facts: TableFacts) -> Statement | None:
    for key, medium in _MEDIUM_FLAGS.items():
        found = facts.lookup([key])
        text = str(found[1]).strip().lower() if found else ""
        if found and text in _TRUE | _FALSE:
            other = "air" if medium == "vacuum" else "vacuum"
            return Statement(medium if text in _TRUE else other, _words(*found))
    return None


def _medium_by_unit(facts: TableFacts, columns: Mapping[str, Sequence[str]]) -> Statement | None:
    """By a note behind the unit: ``Angstrom (vacuum)``."""
    given = [facts.units.get(column, "") for column in columns.get("wavelength", ())[:1]]
    found = facts.lookup(_UNIT_KEYS)
    for text in [*given, str(found[1]) if found else ""]:
        note = _NOTE.search(text.strip().strip("'\"[]"))
        if note is not None:
            medium = "air" if note[2].lower() == "air" else "vacuum"
            return Statement(medium, f"unit {text!r}")
    return None


def _medium_by_axis(facts: TableFacts) -> Statement | None:
    """By CTYPE1: AWAV is a wavelength in air, WAVE one in vacuum (FITS paper III, table 1)."""
    found = facts.lookup(["CTYPE1"])
    code = re.fullmatch(r"(AWAV|WAVE)(-...)?", str(found[1]).strip().upper()) if found else None
    if found is None or code is None:
        return None
    return Statement("air" if code.group(1) == "AWAV" else "vacuum", _words(*found))


def _medium_by_column(facts: TableFacts, columns: Sequence[str]) -> Statement | None:
    for column in columns[:1]:
        ucd = facts.ucds.get(column, "")
        # UCD1+: obs.atmos qualifies what is measured in the atmosphere.
        if "obs.atmos" in ucd.lower():
            return Statement("air", _words(f"UCD of {column}", ucd))
        for medium in ("vacuum", "air"):
            if re.search(rf"(^|_){medium[:3]}(uum)?(_|$)", _bare(column)):
                return Statement(medium, f"column {column}")
    return None


def _frame(facts: TableFacts) -> Statement | None:
    for key in _FRAME_KEYS:
        found = facts.lookup([key])
        text = str(found[1]).strip().lower().replace("_", " ") if found else ""
        for frame, names in _FRAMES.items():
            if found and text in names:
                return Statement(frame, _words(*found))
    at_rest = _at_rest(facts)
    if at_rest is not None:
        return at_rest
    for key in _BARYCENTRIC_FLAGS:
        found = facts.lookup([key])
        said = str(found[1]).strip().lower() if found else ""
        if found and said in _TRUE - {"1"}:
            return Statement("barycentric", _words(*found))
        if found and said in _FALSE - {"0"}:
            return Statement("topocentric", _words(*found))
    found = facts.lookup(_BARYCENTRIC_VALUES)
    return Statement("barycentric", _words(*found)) if found else None


def _at_rest(facts: TableFacts) -> Statement | None:
    """By what programs note that they have shifted a spectrum to rest."""
    for key in _REST_FLAGS:
        found = facts.lookup([key])
        if found is not None and str(found[1]).strip().lower() in _TRUE - {"1"}:
            return Statement("stellar rest", _words(*found))
    found = facts.lookup(_REST_RECORDS)
    return Statement("stellar rest", _words(*found)) if found else None


def _flux_unit(facts: TableFacts, columns: Sequence[str]) -> Statement | None:
    for column in columns[:1]:
        if column in facts.units:
            return Statement(
                facts.units[column].strip(), _words(f"unit of {column}", facts.units[column])
            )
    found = facts.lookup(_FLUX_UNIT_KEYS)
    if found is not None:
        return Statement(str(found[1]).strip(), _words(*found))
    for key in _NORMALISED_FLAGS:
        found = facts.lookup([key])
        if found is not None and str(found[1]).strip().lower() in _TRUE:
            return Statement("", _words(*found))
    return None


def _error(
    facts: TableFacts, columns: Sequence[str], flux_unit: Statement | None
) -> Statement | None:
    for column in columns[:1]:
        unit = facts.units.get(column, "")
        kind = kind_of_error(unit, flux_unit.value) if unit and flux_unit else None
        if kind is not None:
            return Statement(kind, _words(f"unit of {column}", unit))
        for kind, pattern in _ERROR_NAMES:
            if pattern.search(_bare(column)):
                return Statement(kind, f"column {column}")
    return None


# --- metadata of text and Parquet tables -------------------------------------------------------


class _EcsvLoader(yaml.SafeLoader):
    """YAML of an ECSV header, whose tags of astropy's classes are read as what they hold."""


def _untagged(loader: yaml.SafeLoader, suffix: str, node: yaml.Node) -> Any:
    if isinstance(node, yaml.MappingNode):
        value: Any = loader.construct_mapping(node, deep=True)
        return value.get("unit", value)
    if isinstance(node, yaml.SequenceNode):
        pairs = loader.construct_sequence(node, deep=True)
        together: dict[Any, Any] = {}
        for pair in pairs:
            together |= pair if isinstance(pair, dict) else {}
        return together
    assert isinstance(node, yaml.ScalarNode)
    return loader.construct_scalar(node)


def _from_omap(loader: Any, node: yaml.Node) -> Any:
    return _untagged(loader, "", node)


_EcsvLoader.add_multi_constructor("", _untagged)
_EcsvLoader.add_constructor("tag:yaml.org,2002:omap", _from_omap)


def ecsv_facts(name: str, lines: Iterable[str]) -> TableFacts:
    """What the header lines of an ECSV (without their ``#``) say; nothing if they are no YAML."""
    try:
        document = yaml.load("\n".join(lines), _EcsvLoader)  # noqa: S506 - a SafeLoader
    except (yaml.YAMLError, ValueError, TypeError, RecursionError):
        return TableFacts(name)
    if not isinstance(document, dict) or not isinstance(document.get("datatype"), list):
        return TableFacts(name)
    columns = [c for c in document["datatype"] if isinstance(c, dict) and "name" in c]
    meta = document.get("meta")
    ucds = {
        c["name"]: str((c.get("meta") or {}).get("ucd", ""))
        for c in columns
        if isinstance(c.get("meta") or {}, dict)
    }
    return TableFacts(
        name,
        meta if isinstance(meta, dict) else {},
        {str(c["name"]): str(c["unit"]) for c in columns if c.get("unit")},
        {column: ucd for column, ucd in ucds.items() if ucd},
    )


def parquet_facts(name: str, schema: pa.Schema) -> TableFacts:
    """What the metadata of a Parquet file and its fields say, astropy's YAML text among them."""
    texts = _decoded(schema.metadata)
    astropy = ecsv_facts(name, texts.pop("table_meta_yaml", "").splitlines())
    units, ucds = dict(astropy.units), dict(astropy.ucds)
    for column in schema:
        own = {key.lower(): value for key, value in _decoded(column.metadata).items()}
        if unit := own.get("unit") or own.get("units"):
            units[column.name] = unit
        if ucd := own.get("ucd"):
            ucds[column.name] = ucd
    return TableFacts(name, texts | dict(astropy.header), units, ucds)


def _decoded(metadata: Mapping[bytes, bytes] | None) -> dict[str, str]:
    return {
        k.decode("utf-8", "replace"): v.decode("utf-8", "replace")
        for k, v in (metadata or {}).items()
    }
