"""Files of the same spectra in every layout, kind of error, of wavelength and of identifier."""

from pathlib import Path
from typing import Any

import numpy as np
from astropy.io import fits
from conformance.reader_checks import read_all

from distcnn.config import GridConfig, SpectraFilesConfig
from distcnn.ingest.readers import ReadRequest, make_reader

PIXELS = 40
SHAPES = ("row_per_star", "row_per_pixel", "image_rows", "image_per_quantity")
ERRORS = ("sigma", "variance", "ivar", "relative", "snr")
IDS = ("column", "header", "other_hdu", "file_name")
LOG_START, LOG_STEP = 3.7, 1e-4
LOGARITHMIC = 10 ** (LOG_START + LOG_STEP * np.arange(PIXELS))
LINEAR = 5000.0 + 0.5 * np.arange(PIXELS)
WAVELENGTHS: dict[str, tuple[np.ndarray, dict[str, Any], str]] = {
    # wavelengths, keywords that give them, column or row that gives them
    "linear": (LINEAR, {"CRVAL1": 5000.0, "CDELT1": 0.5, "CRPIX1": 1.0}, ""),
    "reference_pixel": (LINEAR, {"CRVAL1": 5005.0, "CD1_1": 0.5, "CRPIX1": 11.0}, ""),
    "awav": (LINEAR, {"CRVAL1": 5000.0, "CDELT1": 0.5, "CTYPE1": "AWAV"}, ""),
    "coeff0": (LOGARITHMIC, {"COEFF0": LOG_START, "COEFF1": LOG_STEP}, ""),
    "dc_flag": (LOGARITHMIC, {"CRVAL1": LOG_START, "CD1_1": LOG_STEP, "CTYPE1": "LINEAR",
                              "DC-FLAG": 1}, ""),
    "log_linear": (LOGARITHMIC, {"CRVAL1": LOG_START, "CDELT1": LOG_STEP,
                                 "CTYPE1": "LOG-LINEAR"}, ""),
    "column": (LINEAR, {}, "lambda"),
    "column_of_logarithms": (LOGARITHMIC, {}, "loglam"),
    "descending": (LINEAR[::-1], {}, "lambda"),
    "header_descending": (LINEAR[::-1], {"CRVAL1": LINEAR[-1], "CDELT1": -0.5}, ""),
}  # fmt: skip
STARS = (4611, 17, 9007199254740993)


def spectra(stars: int) -> tuple[np.ndarray, np.ndarray]:
    """Flux [stars, P] and its sigma, in no order that hides a mistake."""
    rng = np.random.default_rng(3)
    return 1 + rng.random((stars, PIXELS)), 0.01 * (1 + rng.random((stars, PIXELS)))


def error_of(flux: np.ndarray, sigma: np.ndarray, kind: str) -> np.ndarray:
    """The error as a file of that kind has it."""
    kinds = {"sigma": sigma, "variance": sigma**2, "ivar": sigma**-2}
    return kinds.get(kind, sigma / flux if kind == "relative" else flux / sigma)


def write_layout(
    folder: Path, shape: str, error: str, wave: str, identifier: str
) -> tuple[Path, dict[str, Any], list[int]]:
    """A file, the layout that describes it, and its stars."""
    several = shape in ("row_per_star", "image_per_quantity") and identifier in (
        "column",
        "other_hdu",
    )
    stars = list(STARS) if several else [STARS[0]]
    flux, sigma = spectra(len(stars))
    grid, keywords, column = WAVELENGTHS[wave]
    values = np.tile(np.log10(grid) if column == "loglam" else grid, (len(stars), 1))
    noise = error_of(flux, sigma, error)
    path = folder / f"spec-{stars[0]}.fits"
    writer = {
        "row_per_star": _row_per_star,
        "row_per_pixel": _row_per_pixel,
        "image_rows": _image_rows,
        "image_per_quantity": _image_per_quantity,
    }[shape]
    layout: dict[str, Any] = {"shape": shape, "error_kind": error}
    hdus = writer(layout, flux, noise, values if column else None, column, stars, identifier)
    hdus[0].header["STAR"] = stars[0]
    for hdu in hdus:
        hdu.header.update(keywords)
    layout["id"] = {
        "column": {"column": "star"},
        "header": {"header": "STAR"},
        "other_hdu": {"column": "TARGET", "hdu": "TARGETS"},
        "file_name": {"file_name": r"spec-(\d+)\.fits"},
    }[identifier]
    if identifier == "other_hdu" or (identifier == "column" and shape.startswith("image")):
        targets = fits.BinTableHDU.from_columns([fits.Column("TARGET", "K", array=stars)])
        targets.name = "TARGETS"
        hdus.append(targets)
        layout["id"] = {"column": "TARGET", "hdu": "TARGETS"}
    fits.HDUList(hdus).writeto(path)
    return path, layout, stars


def _row_per_star(layout, flux, noise, values, column, stars, identifier) -> list[Any]:
    columns = [
        fits.Column("flux", f"{PIXELS}D", array=flux),
        fits.Column("noise", f"{PIXELS}D", array=noise),
    ]
    if identifier == "column":
        columns.append(fits.Column("star", "K", array=stars))
    if column:
        columns.append(fits.Column(column, f"{PIXELS}D", array=values))
    layout |= {"hdu": 1, "flux": "flux", "error": "noise", "wavelength": column or None}
    return [fits.PrimaryHDU(), fits.BinTableHDU.from_columns(columns)]


def _row_per_pixel(layout, flux, noise, values, column, stars, identifier) -> list[Any]:
    columns = [
        fits.Column("flux", "D", array=flux[0]),
        fits.Column("noise", "D", array=noise[0]),
    ]
    if identifier == "column":
        columns.append(fits.Column("star", "K", array=np.full(PIXELS, stars[0])))
    if column:
        columns.append(fits.Column(column, "D", array=values[0]))
    layout |= {"hdu": 1, "flux": "flux", "error": "noise", "wavelength": column or None}
    return [fits.PrimaryHDU(), fits.BinTableHDU.from_columns(columns)]


def _image_rows(layout, flux, noise, values, column, stars, identifier) -> list[Any]:
    rows = [flux[0], noise[0], *([values[0]] if column else [])]
    layout |= {"flux": 0, "error": 1, "wavelength": 2 if column else None}
    if column == "loglam":
        layout["spacing"] = "log"
    return [fits.PrimaryHDU(np.array(rows))]


def _image_per_quantity(layout, flux, noise, values, column, stars, identifier) -> list[Any]:
    hdus = [fits.PrimaryHDU(), fits.ImageHDU(flux, name="F"), fits.ImageHDU(noise, name="N")]
    if column:
        hdus.append(fits.ImageHDU(values[0], name="W"))
    layout |= {"flux": "F", "error": "N", "wavelength": "W" if column else None}
    if column == "loglam":
        layout["spacing"] = "log"
    return hdus


def reader_of(layout: dict[str, Any], **grid: Any):
    """The reader of a layout; ``grid`` says what the files do not."""
    said = {"unit": "Angstrom", "medium": "vacuum", "frame": "barycentric"} | grid
    files = SpectraFilesConfig(reader="described", files="*", layout=layout)
    return make_reader(files, ReadRequest("spectra", GridConfig.model_validate(said)))


ONE_STAR = {
    "shape": "row_per_star",
    "hdu": 1,
    "flux": "flux",
    "error": "sigma",
    "error_kind": "sigma",
    "wavelength": "wave",
    "id": {"header": "STAR"},
}


def table_of(flux, sigma, wave, name="", **more):
    """A table of one row of arrays."""
    columns = {"flux": flux, "sigma": sigma, "wave": wave, **more}
    made = []
    for column, values in columns.items():
        cells = np.asarray(values)[np.newaxis]
        form = {"f": "D", "i": "J"}[cells.dtype.kind]
        made.append(fits.Column(column, f"{cells.size}{form}", array=cells))
    return fits.BinTableHDU.from_columns(made, name=name or None)


def write(path, *hdus, **keywords):
    """A file of extensions, with keywords in the primary header."""
    primary = fits.PrimaryHDU()
    primary.header.update({"STAR": 4611, **keywords})
    fits.HDUList([primary, *hdus]).writeto(path)
    return path


def one_block(layout, path, **grid):
    return read_all(reader_of(layout, **grid), path)
