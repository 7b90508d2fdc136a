"""A first configuration for an unknown file of spectra: ``distcnn conf --guess``.

Every line says in a comment whether the file states it or whether it is a guess, by names and
values, which a person has to look at before it is believed.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from distcnn.arrays import Array
from distcnn.config import GridConfig, SpectrumLayoutConfig
from distcnn.errors import DistcnnError, InputError
from distcnn.ingest.preprocess.statements import Statements
from distcnn.ingest.readers.base import is_number
from distcnn.ingest.readers.formats.binary_table import BinaryTable
from distcnn.ingest.readers.formats.containers import TableSource, table_sources
from distcnn.ingest.readers.layouts.quantities import arm_reader, with_unit
from distcnn.ingest.readers.layouts.spectrum_file import SpectrumFile, opened
from distcnn.ingest.readers.statements.grids import (
    BASES,
    antilogarithm,
    base_of,
    header_grid,
    usual_base,
)
from distcnn.ingest.readers.statements.multispec import is_multispec, lines_of_plane
from distcnn.ingest.readers.statements.statements import TableFacts, read_statements
from distcnn.ingest.readers.values.numbers import row_array
from distcnn.ingest.selection import known_ending

MIN_PIXELS = 20
"""Fewer numbers in a row are no spectrum."""
_MAX_LOGARITHM = 13.0
"""Larger wavelengths in nm or Angstrom are no logarithms; ln(4e5 Angstrom) is below."""
_SIGMA_PLANE = 3
"""Of the planes that IRAF's apall writes: spectrum, unweighted spectrum, sky, sigma."""
_ROLES = {
    "wavelength": r"(log_?)?(lam(bda)?|wave(length|len|obs)?s?|wl|wvl|loglam|awav)"
    r"([_ ]?[([]?(aa?|ang(strom)?s?|nm|um|vac(uum)?|air|obs)[])]?)*",
    "flux": r"(flux|fl?|flam|spec(trum)?|intensity|counts?|data|signal)",
    "error": r"(.*(ivar|invvar)|(.*_)?(err?(or)?|sig(ma)?|unc(ertainty)?|std|noise|var(iance)?)s?"
    r"(_.*)?|e_?flux|.*flux_?err)",
    "mask": r"(.*mask|.*flags?|qual(ity)?|dq|pixel_flags|bitmask)",
}
_ID_COLUMNS = ("source_id", "targetid", "sdss_id", "object_id", "targid", "obsid", "star", "id",
               "name", "objid", "apogee_id", "sobject_id", "specobjid")  # fmt: skip
_ID_KEYS = ("OBSID", "OBJID", "TARGETID", "SOURCE_ID", "TRG_UID", "SDSS_ID", "STARID", "OBJECT",
            "OBJNAME", "CNAME")  # fmt: skip
_ARMS = (
    ("B", "R", "Z"),
    ("B", "R"),
    ("BLUE", "GREEN", "RED"),
    ("BLUE", "RED"),
    ("UVB", "VIS", "NIR"),
)
_PACKED = re.compile(r"\.(gz|bz2|xz|zst)$", re.IGNORECASE)
_SPECTRUM = re.compile(r"^spec(trum|tra)?_(?=.)")
"""Begins the names of quantities of spectra beside those of stars."""
_KINDS = (("ivar", r"ivar|invvar|inverse"), ("variance", r"(^|_)var"))


@dataclass
class _Guess:
    """Keys of the layout, each with how it was come by."""

    values: dict[str, Any] = field(default_factory=dict)
    why: dict[str, str] = field(default_factory=dict)

    def set(self, key: str, value: Any, why: str) -> None:
        """Note a key."""
        self.values[key], self.why[key] = value, why


def guess(path: Path) -> str:
    """YAML of a configuration for a file.

    Raises
    ------
    InputError : nothing in it looks like a spectrum, or it cannot be read.
    """
    source = next(table_sources(path))
    names = _names_of_columns(source)
    with opened(source, columns=names) as file:
        found = _of_images(file) or _of_tables(file)
        if found is None:
            raise InputError(
                f"{path}: nothing in it looks like a spectrum",
                expected=f"an array or image row of {MIN_PIXELS} numbers or more",
                cure=f"{file.contents()}Write a 'layout' by hand; conf/surveys has examples.",
            )
        if names:
            found.set("text_columns", names, "guess: the first line has no names, in this order")
        _guess_id(found, file, path)
        stated = _statements(found, file)
        return "\n".join([*_head(path, found), *_grid(found, file, stated), *_tail()]) + "\n"


def _names_of_columns(source: TableSource) -> list[str]:
    """Names for the columns of a text whose first line holds numbers; none if it has names."""
    if source.format != "text":
        return []
    text = source.text()
    with text.stream:
        first = text.columns
    if not all(map(is_number, first)):
        return []
    usual = ["wavelength", "flux", "error"]
    return [*usual[: len(first)], *(f"column{n}" for n in range(4, len(first) + 1))]


# --- tables ------------------------------------------------------------------------------------


def _of_tables(file: SpectrumFile) -> _Guess | None:
    if file.hdus is None:
        table = file.table(None)
        return None if table is None else _of_table(table, None, file)
    for number in range(len(file.hdus)):
        try:
            table = file.table(number)
        except DistcnnError:
            continue
        if table is not None:
            name = str(file.hdus[number].name).strip()
            guess = _of_table(table, name or number, file)
            if guess is not None:
                return guess
    return None


def _of_table(table: BinaryTable, hdu: str | int | None, file: SpectrumFile) -> _Guess | None:
    inside = [
        column for column in table.columns if column.upper() not in map(str.upper, table.header)
    ]
    inside = [one for one in inside if not any(o.startswith(f"{one}.") for o in inside)]
    first = table.read(0, 1, inside)
    long = [name for name in inside if _size(first[name][0]) >= MIN_PIXELS]
    guess = _Guess()
    columns = long or inside
    roles = _roles(columns)
    if "flux" not in roles or (not long and table.length < MIN_PIXELS):
        return None
    shape = "row_per_star" if long else "row_per_pixel"
    guess.set("shape", shape, f"guess: its cells hold {'arrays' if long else 'single numbers'}")
    if hdu is not None:
        _guess_hdu(guess, hdu, file)
    for key in ("flux", "error", "wavelength"):
        if key in roles:
            guess.set(key, roles[key], "guess: by its name")
    if "mask" in roles:
        guess.set("masks", [{"place": roles["mask"]}], "guess: that any bit makes a pixel useless")
    return guess


def _size(value: Any) -> int:
    try:
        return len(row_array(value, ""))
    except Exception:  # a text or an object is no array
        return 0


def _roles(names: Sequence[str]) -> dict[str, str]:
    """Role -> the first name that fits it; wavelengths and errors before fluxes."""
    found: dict[str, str] = {}
    for role in ("wavelength", "mask", "error", "flux"):
        for name in names:
            last = _SPECTRUM.sub("", name.rpartition(".")[2].lower())
            if name not in found.values() and re.fullmatch(_ROLES[role], last):
                found[role] = name
                break
    if "flux" not in found:
        rest = [n for n in names if n not in found.values() and "flux" in n.lower()]
        found |= {"flux": rest[0]} if rest else {}
    return found


def _guess_hdu(guess: _Guess, hdu: str | int, file: SpectrumFile) -> None:
    """The HDU, with its arm as ``{arm}`` if there are others of the same kind."""
    names = [one.name.strip() for one in file.hdus or ()]
    arms = _arms_in(str(hdu), names)
    if arms is None:
        guess.set("hdu", hdu, "guess: the first table that looks like a spectrum")
        return
    text, found = arms
    guess.set("hdu", text, "guess: extensions of the same name but for the arm")
    guess.set("arms", found, "guess: their arms, the first preferred where they overlap")


def _without_arm(name: str) -> str:
    """A name without ``{arm}``, or the arm that is the only one there."""
    arms = {"{ARM}", *(arm for several in _ARMS for arm in several)}
    parts = [part for part in name.upper().split("_") if part not in arms]
    return "_".join(parts).lower()


def _arms_in(name: str, names: Sequence[str]) -> tuple[str, list[str]] | None:
    """A name with ``{arm}`` in it, and the arms for which there is such a name."""
    parts = re.split(r"(_)", name)
    for place, part in enumerate(parts):
        for arms in _ARMS:
            if part.upper() not in arms:
                continue
            text = "".join([*parts[:place], "{arm}", *parts[place + 1 :]])
            there = [arm for arm in arms if text.replace("{arm}", arm) in map(str.upper, names)]
            if len(there) > 1:
                return text, there
    return None


# --- images ------------------------------------------------------------------------------------


def _of_images(file: SpectrumFile) -> _Guess | None:
    if file.hdus is None:
        return None
    images: dict[str | int, tuple[int, int]] = {}
    for number, hdu in enumerate(file.hdus):
        try:
            image = file.image(number)
        except DistcnnError:
            continue
        if image is not None and image.pixels >= MIN_PIXELS:
            images[str(hdu.name).strip() if hdu.name not in ("", "PRIMARY") else number] = (
                image.rows,
                image.pixels,
            )
    if not images:
        return None
    if len(images) == 1:
        return _of_image_rows(file, next(iter(images)), *next(iter(images.values())))
    return _of_named_images(images) or _of_numbered_images(file, images)


def _of_image_rows(file: SpectrumFile, hdu: str | int, rows: int, pixels: int) -> _Guess:
    image = file.image(hdu)
    assert image is not None
    if is_multispec(image.header):
        return _of_multispec(hdu, rows, lines_of_plane(image.header))
    guess = _Guess()
    guess.set("shape", "image_rows", f"the file has one image, of {rows} x {pixels}")
    guess.set("hdu", hdu, "the only image")
    guess.set("flux", 0, "guess: the first row")
    for row in range(1, min(rows, 8)):
        values = np.asarray(image.read(row, row + 1)[0], float)
        if _in_order(values):
            guess.set("wavelength", row, "guess: its values increase or decrease throughout")
        elif _is_mask(values):
            masks = guess.values.get("masks", [])
            guess.set("masks", [*masks, {"place": row}], "guess: whole numbers, most of them 0")
        elif "error" not in guess.values:
            guess.set("error", row, "guess: the first row that is neither wavelength nor mask")
    guess.values["masks"] = guess.values.get("masks", [])[:1]
    if not guess.values["masks"]:
        del guess.values["masks"]
    return guess


def _of_multispec(hdu: str | int, rows: int, lines: int) -> _Guess:
    """An image of IRAF: planes of quantities, lines of orders with wavelengths of their own."""
    guess = _Guess()
    guess.set("shape", "image_rows", "the file has one image, in IRAF's MULTISPEC format")
    guess.set("hdu", hdu, "the only image")
    guess.set("flux", 0, "guess: the first plane")
    if rows // lines > _SIGMA_PLANE:
        guess.set("error", _SIGMA_PLANE, "guess: the fourth plane, in which apall writes sigma")
    if lines > 1:
        guess.set("row", "{arm}", "guess: its lines are orders; of stars: image_per_quantity")
        guess.set("arms", list(range(lines)), "guess: all orders")
    return guess


def _of_named_images(images: Mapping[str | int, tuple[int, int]]) -> _Guess | None:
    """Images whose names say what they are: B_FLUX, B_IVAR, B_WAVELENGTH."""
    names = [name for name in images if isinstance(name, str)]
    guess = _Guess()
    for name in names:
        arms = _arms_in(name, names)
        text = arms[0] if arms else name
        bare = _without_arm(text)
        role = next((r for r, pattern in _ROLES.items() if re.fullmatch(pattern, bare)), None)
        if role is None or (role if role != "mask" else "masks") in guess.values:
            continue
        value: Any = [{"place": text}] if role == "mask" else text
        guess.set("masks" if role == "mask" else role, value, "guess: by its name")
        if arms and "arms" not in guess.values:
            guess.set(
                "arms", arms[1], "guess: by the names; the first preferred where they overlap"
            )
    if "flux" not in guess.values:
        return None
    flux = str(guess.values["flux"]).replace("{arm}", (guess.values.get("arms") or [""])[0])
    rows = images.get(flux, (1, 0))[0]
    first = {"shape": "image_per_quantity"}
    guess.values = first | guess.values
    guess.why["shape"] = "guess: an image for each quantity"
    if rows == 1:
        guess.set("row", 0, "its images have one row")
    return guess


def _of_numbered_images(
    file: SpectrumFile, images: Mapping[str | int, tuple[int, int]]
) -> _Guess | None:
    """Images of the same shape without names: flux and error first, as is usual."""
    shape = next(iter(images.values()))
    alike = [name for name, one in images.items() if one == shape]
    guess = _Guess()
    guess.set(
        "shape", "image_per_quantity", f"guess: {len(alike)} images of {shape[0]} x {shape[1]}"
    )
    for hdu in alike:
        image = file.image(hdu)
        assert image is not None
        values = np.asarray(np.ma.filled(image.read(0, 1)[0].astype(float), np.nan))
        if _in_order(values) and "wavelength" not in guess.values:
            guess.set("wavelength", hdu, "guess: its values increase or decrease throughout")
        elif "flux" not in guess.values:
            guess.set("flux", hdu, "guess: the first image")
        elif "error" not in guess.values:
            guess.set("error", hdu, "guess: the second image")
        elif _is_mask(values) and "masks" not in guess.values:
            guess.set(
                "masks", [{"place": hdu}], "guess: whole numbers; which bits matter is for you"
            )
    if "wavelength" in guess.values and shape[0] in (2, 3, 4):
        guess.set("row", "{arm}", "guess: few rows of wavelengths of their own are arms, not stars")
        guess.set("arms", list(range(shape[0])), "guess: the rows")
    else:
        guess.set("row", 0, "guess: one star; remove it if every row is a star")
    return guess


def _in_order(values: Array) -> bool:
    steps = np.diff(values[np.isfinite(values)])
    return len(steps) > MIN_PIXELS // 2 and bool((steps > 0).all() or (steps < 0).all())


def _is_mask(values: Array) -> bool:
    good = values[np.isfinite(values)]
    return bool(good.size) and bool((good == np.floor(good)).all() and (good >= 0).all())


# --- identifiers, units, frames ----------------------------------------------------------------


def _guess_id(guess: _Guess, file: SpectrumFile, path: Path) -> None:
    several = guess.values["shape"] == "image_per_quantity" and "row" not in guess.values
    for place in _id_columns(guess, file, several):
        guess.set("id", place, "guess: by its name")
        return
    keywords = {} if several else {str(k).upper(): v for k, v in file.header(None).items()}
    key = next((k for k in _ID_KEYS if str(keywords.get(k, "")).strip()), None)
    if key is not None:
        guess.set("id", {"header": key}, f"guess: the file says {key} = {keywords[key]!r}")
        return
    ending = _PACKED.sub("", known_ending(path.name))
    pattern = f"(.*){ending.replace('.', '[.]')}" if ending else "(.*)[.][^.]+"
    guess.set("id", {"file_name": pattern}, "guess: nothing in the file names the star")


def _id_columns(guess: _Guess, file: SpectrumFile, several: bool) -> Iterator[dict[str, Any]]:
    for where, table in _tables_with_ids(guess, file, several):
        known = {column.lower(): column for column in table.columns}
        others = [name for name in known if name.endswith("_id")]
        for name in (*_ID_COLUMNS, *others):
            if name in known:
                yield {"column": known[name]} | ({} if where is None else {"hdu": where})


def _tables_with_ids(
    guess: _Guess, file: SpectrumFile, several: bool
) -> Iterator[tuple[str | int | None, BinaryTable]]:
    """The table of the spectra, or tables beside images of many; each with its HDU."""
    rows = str(guess.values["shape"]).startswith("row")
    if file.hdus is None or (rows and "arms" not in guess.values):
        table = file.table(guess.values.get("hdu"))
        if table is not None:
            yield None, table
        return
    for number, one in enumerate(file.hdus if several else ()):
        try:
            table = file.table(number)
        except DistcnnError:
            continue
        if table is not None:
            yield str(one.name).strip() or number, table


def _statements(guess: _Guess, file: SpectrumFile) -> tuple[TableFacts, Statements]:
    layout = SpectrumLayoutConfig.model_validate(guess.values | {"error_kind": None})
    arm = layout.arms[0] if layout.arms else None
    reader = arm_reader(file, layout, layout.hdus[0], arm)
    assert reader is not None, "it was looked at"
    facts = with_unit(reader.facts, reader.columns)
    stated = read_statements(facts, reader.columns)
    if layout.error is not None and stated.error_kind is None:
        name = f"{layout.error} {facts.header.get('EXTEN0', '')}".lower()
        kind = next((kind for kind, pattern in _KINDS if re.search(pattern, name)), "sigma")
        guess.set("error_kind", kind, "guess: sigma is the usual; it may be an ivar or a variance")
    held = reader.read(0, 1).arrays.get("wavelength")
    if layout.wavelength is None and held is None:
        there = header_grid(facts, MIN_PIXELS, GridConfig(unit="Angstrom"), stated)
        if there is None:
            guess.set("wavelength", None, "GIVE IT: nothing in the file has wavelengths")
    elif held is not None and stated.spacing is None:
        top, base = float(np.nanmax(held)), usual_base(np.ravel(held), "Angstrom")
        if base and top < _MAX_LOGARITHM:
            spacing = next(name for name, one in BASES.items() if one == base)
            guess.set("spacing", spacing, f"guess: values up to {top:.4g} are logarithms")
    return facts, stated


def _grid(guess: _Guess, file: SpectrumFile, found: tuple[TableFacts, Statements]) -> Iterator[str]:
    facts, stated = found
    yield "  grid:"
    unit, why = _unit_of(guess, file, facts, stated)
    yield f"    unit: {unit}  # {why}"
    for name, value in (("medium", "vacuum"), ("frame", "barycentric")):
        said = getattr(stated, name)
        if said is None:
            why = "GUESS, the file does not say: look at known lines (--try)"
            yield f"    {name}: {value}  # {why}"
        else:
            yield f"    # {name}: {said.value}, as the file says: {said.words}"


def _unit_of(
    guess: _Guess, file: SpectrumFile, facts: TableFacts, stated: Statements
) -> tuple[str, str]:
    if stated.unit is not None:
        return stated.unit.value, f"the file says: {stated.unit.words}"
    first = _first_wavelength(guess, file, facts, stated)
    unit = "nm" if 150 < first < 2500 else "um" if 0 < first < 30 else "Angstrom"
    return unit, f"guess: the first wavelength is {first:.6g}"


def _first_wavelength(
    guess: _Guess, file: SpectrumFile, facts: TableFacts, stated: Statements
) -> float:
    values = {key: value for key, value in guess.values.items() if value is not None}
    layout = SpectrumLayoutConfig.model_validate(values)
    reader = arm_reader(file, layout, layout.hdus[0], layout.arms[0] if layout.arms else None)
    assert reader is not None, "it was looked at"
    held = reader.read(0, 1).arrays.get("wavelength")
    if held is None:
        grid = header_grid(facts, 2, GridConfig(unit="Angstrom"), stated)
        return float("nan") if grid is None else float(grid[0])
    wave = np.asarray(held, float).ravel()
    spacing = BASES.get(str(layout.spacing)) or (stated.spacing.value if stated.spacing else "")
    if spacing == "log":
        spacing = base_of(wave, "Angstrom")
    wave = antilogarithm(wave[np.isfinite(wave)], spacing)
    return float(wave[0]) if wave.size else float("nan")


# --- text --------------------------------------------------------------------------------------


def _head(path: Path, guess: _Guess) -> Iterator[str]:
    yield f"# A first configuration for files like {path.name}, guessed from this one file."
    yield "# Look at every line that says guess, then: distcnn ingest --try FILE --conf THIS_FILE"
    yield "ingest:"
    yield "  survey: my_survey  # GIVE IT a name"
    yield "  release: unknown  # GIVE IT"
    yield "  spectra:"
    yield "    reader: described"
    yield f'    files: "*{known_ending(path.name) or path.name}"  # guess: by the ending'
    yield "    layout:"
    for key, value in guess.values.items():
        yield f"      {key}: {_yaml(value)}  # {guess.why[key]}"


def _tail() -> Iterator[str]:
    yield "  source: null  # a table with positions and magnitudes, if you have one"
    yield "  source_required: false"
    yield "  xp: null"
    yield "  labels: null  # a table of labels, if you have one"
    yield "  prepare:"
    yield "    # A common grid, if the wavelengths of your files differ:"
    yield "    # target: {start: ..., step: ..., size: ..., unit: Angstrom, medium: vacuum}"
    yield "    normalisation: running_quantile  # guess; none if the fluxes are normalised"


def _yaml(value: Any) -> str:
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key}: {_yaml(one)}" for key, one in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(_yaml, value)) + "]"
    if value is None:
        return "null"
    return str(value) if isinstance(value, int) else '"' + str(value).replace('"', '\\"') + '"'
