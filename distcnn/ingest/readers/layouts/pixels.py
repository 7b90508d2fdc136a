"""What the numbers of an arm mean: errors as sigma, missing pixels as NaN, unit of wavelength."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from distcnn.arrays import Array
from distcnn.config import GridConfig, MissingPixelsConfig, PixelMaskConfig, SpectrumLayoutConfig
from distcnn.errors import GridMismatch, ScaleMismatch
from distcnn.ingest.preprocess.statements import Statement, Statements
from distcnn.ingest.preprocess.wavelength import is_declared, wavelengths
from distcnn.ingest.readers.layouts.quantities import MASK, ArmReader, with_unit
from distcnn.ingest.readers.statements.flux_units import sigma_of
from distcnn.ingest.readers.statements.grids import BASES, column_wavelengths, header_grid
from distcnn.ingest.readers.statements.statements import TableFacts, read_statements

_KINDS = {"variance": "variance", "ivar": "inverse variance"}
"""Our kinds of error that ``Statements`` knows by a longer name."""
_SAID_BY = {
    "unit": "a unit of its wavelengths (CUNIT1, TUNIT)",
    "medium": "VACUUM, AIRORVAC, CTYPE1 or a UCD",
    "frame": "SPECSYS, HELIO or HELIO_RV",
}
_CHOICES = {
    "unit": "Angstrom or nm",
    "medium": "vacuum or air",
    "frame": "stellar rest, barycentric, topocentric or geocentric",
}
_OF_SPACING = ("DC-FLAG", "CTYPE1")


class ArmMeaning:
    """How the arrays of an arm are understood: by the file, and by the layout where it is silent.

    Raises
    ------
    InputError : file and layout differ, or neither says what has to be known.
    """

    def __init__(
        self,
        reader: ArmReader,
        layout: SpectrumLayoutConfig,
        grid: GridConfig,
        override: Sequence[str],
    ) -> None:
        self.layout, self.grid, self.override = layout, grid, override
        facts = with_unit(reader.facts, reader.columns)
        if layout.spacing == "linear":
            header = {k: v for k, v in facts.header.items() if k.upper() not in _OF_SPACING}
            facts = replace(facts, header=header)
        self.facts, self.columns = facts, reader.columns
        self.stated = self._with_layout(read_statements(facts, self.columns, override))
        for name in ("unit", "medium", "frame"):
            _check_said(facts.name, name, self.stated, grid)
        self.error_kind = self._kind_of_error() if layout.error is not None else ""

    def _with_layout(self, stated: Statements) -> Statements:
        silent = {"error": "error_kind"}
        nothing: dict[str, Any] = {silent.get(name, name): None for name in self.override}
        said = replace(stated, **nothing)
        if self.layout.spacing is not None:
            base = BASES.get(self.layout.spacing)
            log = Statement(base, "layout.spacing") if base else None
            said = replace(said, spacing=log)
        normalised = self.layout.normalised or self.layout.continuum is not None
        if not normalised:
            return said
        if "flux_unit" in self.override:  # the layout says it in the place of the file
            return replace(said, overridden=tuple({*said.overridden, "flux_unit"}))
        return replace(said, flux_unit=Statement("", "layout.normalised"))

    def _kind_of_error(self) -> str:
        own, said = self.layout.error_kind, self.stated.error_kind
        if own is None and said is None:
            raise ScaleMismatch(
                f"{self.facts.name}: nothing in it says what {self.layout.error!r} is",
                expected="a sigma, a variance, an inverse variance or a relative error",
                cure="Set ingest.spectra.layout.error_kind.",
            )
        if own is None or said is None or _KINDS.get(own, own) == said.value:
            return _KINDS.get(own, own) if own is not None else said.value  # type: ignore[union-attr]
        raise ScaleMismatch(
            f"{self.facts.name}: its errors are of kind {said.value!r} ({said.words})",
            expected=f"{own!r}, as ingest.spectra.layout.error_kind says",
            cure="Correct error_kind. If the file is wrong, set ingest.override: [error].",
        )

    # --- arrays ---------------------------------------------------------------------------

    def wavelengths(self, arrays: dict[str, Array]) -> Array:
        """Wavelengths [P] or [n, P] in the unit of the grid, NaN where there is none.

        Raises
        ------
        GridMismatch : neither a column nor the header has them.
        """
        if "wavelength" in arrays:
            with np.errstate(invalid="ignore"):
                positive = np.where(arrays["wavelength"] > 0, arrays["wavelength"], np.nan)
                return column_wavelengths(positive, self.grid, self.stated)
        pixels = arrays["flux"].shape[1]
        found = header_grid(self.facts, pixels, self.grid, self.stated)
        if found is None and is_declared(self.grid):
            found = wavelengths(self.grid)
            if len(found) != pixels:
                raise GridMismatch(
                    f"{self.facts.name}: its spectra have {pixels} pixels",
                    expected=f"{len(found)}, as ingest.grid.size says",
                    cure="Correct ingest.grid, or name the wavelengths in ingest.spectra.layout.",
                )
        if found is None:
            raise GridMismatch(
                f"{self.facts.name}: its header gives no wavelengths (CRVAL1 and CDELT1 or CD1_1, "
                "COEFF0 and COEFF1)",
                expected="them, because ingest.spectra.layout.wavelength is not set",
                cure="Set it to the column, row or HDU that holds them.",
            )
        return found

    def fluxes(self, arrays: dict[str, Array]) -> tuple[Array, Array | None]:
        """Flux [n, P], and its standard deviation; NaN where missing or masked."""
        flux, error = arrays["flux"], arrays.get("flux_error")
        lost = _lost(arrays, self.layout.masks, self.layout.missing)
        with np.errstate(all="ignore"):
            if error is not None:
                error = self._sigma(flux, error)
                lost |= ~(error > 0)
            if "continuum" in arrays:
                level = np.where(arrays["continuum"] > 0, arrays["continuum"], np.nan)
                flux, error = flux / level, None if error is None else error / level
        if error is not None:
            error = np.where(lost, np.nan, error)
        return np.where(lost, np.nan, flux), error

    def _sigma(self, flux: Array, error: Array) -> Array:
        if self.error_kind in ("relative", "snr"):
            # A signal to noise has the sign of the flux; a negative error is none.
            of_flux = self.error_kind == "relative"
            return np.asarray(np.abs(flux) * error if of_flux else np.abs(flux / error))
        units = [self.facts.units.get(self.columns[n][0], "") for n in ("flux_error", "flux")]
        stated = self.stated.flux_unit
        known = units[0] and stated is not None and "error" not in self.override
        try:
            unit = units[0] if known else ""
            return sigma_of(error, self.error_kind, unit, stated.value if stated else "")
        except ValueError as problem:
            raise ScaleMismatch(
                f"{self.facts.name}: {self.layout.error!r}, taken for the {self.error_kind} of "
                f"flux: {problem}",
                expected="the unit of flux, its square, or one over that",
                cure="Correct error or error_kind of ingest.spectra.layout. If the units are "
                "wrong, set ingest.override: [error].",
            ) from None


def _check_said(name_of_file: str, name: str, stated: Statements, grid: GridConfig) -> None:
    """Refuse spectra of which neither the file nor the configuration says something."""
    if getattr(stated, name) is None and name not in grid.model_fields_set:
        raise GridMismatch(
            f"{name_of_file}: nothing in it says the {name} of its wavelengths",
            expected=f"{_SAID_BY[name]} in the file, or ingest.grid.{name}",
            cure=f"Set ingest.grid.{name}: {_CHOICES[name]}.",
        )


def _lost(
    arrays: dict[str, Array], masks: Sequence[PixelMaskConfig], missing: MissingPixelsConfig
) -> Array:
    """Pixels [n, P] that are missing by their flux, their error as it stands there, or a mask."""
    flux = arrays["flux"]
    lost = ~np.isfinite(flux)
    for value in missing.flux:
        lost |= np.isclose(flux, value, rtol=1e-6, atol=0)
    for value in missing.error if "flux_error" in arrays else ():
        lost |= np.isclose(arrays["flux_error"], value, rtol=1e-6, atol=0)
    if missing.error_above is not None and "flux_error" in arrays:
        with np.errstate(invalid="ignore"):
            lost |= arrays["flux_error"] > missing.error_above
    for number, mask in enumerate(masks):
        lost |= _dropped(arrays[f"{MASK}{number}"], mask)
    return lost


def _dropped(values: Array, mask: PixelMaskConfig) -> Array:
    """Pixels [n, P] with a bit that drops them; a mask that is missing there drops its pixel too.

    A mask that is null throughout, as 4MOST may have it, says nothing of its spectrum.
    """
    known = np.isfinite(values)
    known |= ~known.any(axis=-1, keepdims=True)
    values = np.where(np.isfinite(values), values, 0)
    whole = values.astype(np.int64)
    if mask.drop == "any":
        return np.asarray(~known | (whole != 0))
    wanted = np.int64(0)
    for number in mask.numbers:
        wanted |= np.int64(1) << np.int64(number)
    return np.asarray(~known | ((whole & wanted) != 0))


def facts_of(reader: ArmReader) -> TableFacts:
    """What a file says of an arm, with the unit that its axis has."""
    return with_unit(reader.facts, reader.columns)
