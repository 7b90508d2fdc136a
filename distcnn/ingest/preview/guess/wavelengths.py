"""Guessed of wavelengths: unit, medium, frame and spacing, where the file is silent."""

import re
from collections.abc import Iterator

import numpy as np

from distcnn.config import GridConfig, SpectrumLayoutConfig
from distcnn.ingest.preprocess.statements import Statements
from distcnn.ingest.preview.guess.layout_guess import MIN_PIXELS, LayoutGuess
from distcnn.ingest.readers.layouts.quantities import arm_reader, with_unit
from distcnn.ingest.readers.layouts.spectrum_file import SpectrumFile
from distcnn.ingest.readers.statements.grids import (
    BASES,
    antilogarithm,
    base_of,
    header_grid,
    usual_base,
)
from distcnn.ingest.readers.statements.statements import TableFacts, read_statements

_MAX_LOGARITHM = 13.0
"""Larger wavelengths in nm or Angstrom are no logarithms; ln(4e5 Angstrom) is below."""
_KINDS = (("ivar", r"ivar|invvar|inverse"), ("variance", r"(^|_)var"))


def guess_statements(guess: LayoutGuess, file: SpectrumFile) -> tuple[TableFacts, Statements]:
    """What the file states; a kind of error and a spacing are noted where it is silent."""
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


def grid_lines(
    guess: LayoutGuess, file: SpectrumFile, found: tuple[TableFacts, Statements]
) -> Iterator[str]:
    """The section ``grid`` as lines of YAML."""
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
    guess: LayoutGuess, file: SpectrumFile, facts: TableFacts, stated: Statements
) -> tuple[str, str]:
    if stated.unit is not None:
        return stated.unit.value, f"the file says: {stated.unit.words}"
    first = _first_wavelength(guess, file, facts, stated)
    unit = "nm" if 150 < first < 2500 else "um" if 0 < first < 30 else "Angstrom"
    return unit, f"guess: the first wavelength is {first:.6g}"


def _first_wavelength(
    guess: LayoutGuess, file: SpectrumFile, facts: TableFacts, stated: Statements
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
