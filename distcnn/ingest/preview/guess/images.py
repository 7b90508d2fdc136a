"""Guessed from images: by their names, else by their numbers, rows or planes."""

import re
from collections.abc import Mapping
from typing import Any

import numpy as np

from distcnn.arrays import Array
from distcnn.errors import DistcnnError
from distcnn.ingest.preview.guess.layout_guess import MIN_PIXELS, LayoutGuess
from distcnn.ingest.preview.guess.names import ROLES, arms_in, without_arm
from distcnn.ingest.readers.layouts.spectrum_file import SpectrumFile
from distcnn.ingest.readers.statements.multispec import is_multispec, lines_of_plane

_SIGMA_PLANE = 3
"""Of the planes that IRAF's apall writes: spectrum, unweighted spectrum, sky, sigma."""


def of_images(file: SpectrumFile) -> LayoutGuess | None:
    """What the images of a FITS file hold; None if none is as long as a spectrum."""
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


def _of_image_rows(file: SpectrumFile, hdu: str | int, rows: int, pixels: int) -> LayoutGuess:
    image = file.image(hdu)
    assert image is not None
    if is_multispec(image.header):
        return _of_multispec(hdu, rows, lines_of_plane(image.header))
    guess = LayoutGuess()
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


def _of_multispec(hdu: str | int, rows: int, lines: int) -> LayoutGuess:
    """An image of IRAF: planes of quantities, lines of orders with wavelengths of their own."""
    guess = LayoutGuess()
    guess.set("shape", "image_rows", "the file has one image, in IRAF's MULTISPEC format")
    guess.set("hdu", hdu, "the only image")
    guess.set("flux", 0, "guess: the first plane")
    if rows // lines > _SIGMA_PLANE:
        guess.set("error", _SIGMA_PLANE, "guess: the fourth plane, in which apall writes sigma")
    if lines > 1:
        guess.set("row", "{arm}", "guess: its lines are orders; of stars: image_per_quantity")
        guess.set("arms", list(range(lines)), "guess: all orders")
    return guess


def _of_named_images(images: Mapping[str | int, tuple[int, int]]) -> LayoutGuess | None:
    """Images whose names say what they are: B_FLUX, B_IVAR, B_WAVELENGTH."""
    names = [name for name in images if isinstance(name, str)]
    guess = LayoutGuess()
    for name in names:
        arms = arms_in(name, names)
        text = arms[0] if arms else name
        bare = without_arm(text)
        role = next((r for r, pattern in ROLES.items() if re.fullmatch(pattern, bare)), None)
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
) -> LayoutGuess | None:
    """Images of the same shape without names: flux and error first, as is usual."""
    shape = next(iter(images.values()))
    alike = [name for name, one in images.items() if one == shape]
    guess = LayoutGuess()
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
