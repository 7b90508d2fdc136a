"""IRAF's MULTISPEC wavelengths, and natural logarithms: by keywords, columns and texts."""

import numpy as np
import pytest
from astropy.io import fits
from astropy.modeling.models import Chebyshev1D, Legendre1D
from astropy.table import Table
from conformance.reader_checks import read_all

from distcnn.config import GridConfig, IngestConfig, SpectraFilesConfig
from distcnn.errors import GridMismatch
from distcnn.ingest.preview.files import preview_file
from distcnn.ingest.preview.guess import guess
from distcnn.ingest.readers import ReadRequest, make_reader

PIXELS = 40
PIXEL = np.arange(1.0, PIXELS + 1)
GRID = GridConfig(unit="Angstrom", medium="vacuum", frame="barycentric")
CHEBYSHEV = [5100.0, 4.0, -0.3, 0.02]
LEGENDRE = [5200.0, 5.0, -0.2, -0.01]
SPLINE = [4800.0, 4802.0, 4804.5, 4806.0, 4809.0]
"""Coefficients of two cubic pieces; of four linear ones."""


def reader_of(layout, grid=GRID):
    files = SpectraFilesConfig.model_validate(
        {"reader": "described", "files": "*", "layout": layout}
    )
    return make_reader(files, ReadRequest("spectra", grid))


def spec(number, kind, first, step, functions="", *, pixels=PIXELS, z=0.0, beam=100):
    fields = f"{number} {beam} {kind} {first} {step} {pixels} {z} INDEF INDEF {functions}"
    return f'spec{number} = "{fields.strip()}"'


def polynomial(kind, coefficients, low=1, high=PIXELS, weight=1.0, zero=0.0):
    numbers = " ".join(map(repr, coefficients))
    return f"{weight} {zero} {kind} {len(coefficients)} {low} {high} {numbers}"


def image(path, lines, *, planes=1, values=None, **keywords):
    """An image of IRAF, its lines of WAT2 cut into cards of 68 characters."""
    shape = (planes, len(lines), PIXELS) if planes > 1 else (len(lines), PIXELS)
    data = np.ones(shape, "f4") if values is None else values
    hdu = fits.PrimaryHDU(data)
    text = "wtype=multispec " + " ".join(lines)
    for number, start in enumerate(range(0, len(text), 68), 1):
        hdu.header[f"WAT2_{number:03d}"] = text[start : start + 68]
    hdu.header.update(
        {"WAT0_001": "system=multispec", "CTYPE1": "MULTISPE", "CD1_1": 1.0, "LTM1_1": 1.0,
         "WAT1_001": "wtype=multispec label=Wavelength units=Angstroms", "CTYPE2": "MULTISPE",
         "WCSDIM": 2, "OBJECT": "HD 1"} | keywords
    )  # fmt: skip
    hdu.writeto(path)
    return path


ONE = {"shape": "image_rows", "flux": 0, "id": {"header": "OBJECT"}}
FUNCTIONS = {
    "linear": (spec(1, 0, 5000.0, 0.25), 5000 + 0.25 * (PIXEL - 1)),
    "log-linear": (spec(1, 1, 3.7, 1e-5), 10 ** (3.7 + 1e-5 * (PIXEL - 1))),
    "a velocity": (spec(1, 0, 5000.0, 0.25, z=1e-3), (5000 + 0.25 * (PIXEL - 1)) / 1.001),
    "a velocity of logarithms": (
        spec(1, 1, 3.7, 1e-5, z=1e-3),
        10 ** (3.7 + 1e-5 * (PIXEL - 1)) / 1.001,
    ),
    "decreasing": (spec(1, 0, 5000.0, -0.25), (5000 - 0.25 * (PIXEL - 1))[::-1]),
    # astropy's models are what specutils evaluates.
    "Chebyshev": (
        spec(1, 2, 5095.0, 0.2, polynomial(1, CHEBYSHEV)),
        Chebyshev1D(3, domain=(1, PIXELS), **{f"c{n}": c for n, c in enumerate(CHEBYSHEV)})(PIXEL),
    ),
    "Legendre": (
        spec(1, 2, 5195.0, 0.2, polynomial(2, LEGENDRE, 0.5, 60.5)),
        Legendre1D(3, domain=(0.5, 60.5), **{f"c{n}": c for n, c in enumerate(LEGENDRE)})(PIXEL),
    ),
    "two lamps": (
        spec(1, 2, 5100.0, 0.2, " ".join(
            (polynomial(1, [5100.0, 4.0], weight=0.25, zero=1.0), polynomial(2, [5104.0, 4.0])))),
        (0.25 * 5101 + 5104) / 1.25 + 4 * (2 * PIXEL - PIXELS - 1) / (PIXELS - 1),
    ),
    "cubic spline": (
        spec(1, 2, 28830.0, 0.7, f"1. 0. 3 2 1 {PIXELS} " + " ".join(map(str, SPLINE))),
        None,
    ),
    "linear spline": (
        spec(1, 2, 4800.0, 0.2, f"1. 0. 4 4 1 {PIXELS} " + " ".join(map(str, SPLINE))),
        np.interp((PIXEL - 1) / (PIXELS - 1) * 4, np.arange(5), SPLINE),
    ),
    "an array": (
        spec(1, 2, 5000.0, 0.5, f"1. 0. 5 {PIXELS} " + " ".join(map(str, 5000 + PIXEL**1.1))),
        5000 + PIXEL**1.1,
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", FUNCTIONS)
def test_every_dispersion_function_gives_its_wavelengths(tmp_path, name):
    line, expected = FUNCTIONS[name]
    found = reader_of(ONE).wavelength(image(tmp_path / "a.fits", [line]))
    if expected is None:  # a cubic spline runs through (c0 + 4 c1 + c2) at its knots
        c = SPLINE
        knots = [c[0] + 4 * c[1] + c[2], c[2] + 4 * c[3] + c[4]]
        np.testing.assert_allclose(found[[0, -1]], knots)
        assert np.abs(np.diff(found, 3)).max() < 0.05
        return
    np.testing.assert_allclose(found, expected, rtol=1e-12)


def test_the_example_of_irafs_own_help_agrees_with_its_first_and_mean_step(tmp_path):
    # specwcs, figure 4: w1 and dw of a Legendre polynomial stand beside its coefficients.
    second = 9.04945848598707  # cut off in the figure; from w1
    coefficients = [5052.586239197408, second, -0.03173489817897474, -7.190562320405975e-4]
    line = spec(1, 2, 5043.505764869474, 0.07097, polynomial(2, coefficients))
    found = reader_of(ONE).wavelength(image(tmp_path / "a.fits", [line]))
    assert found[0] == pytest.approx(5043.505764869474, abs=1e-6)
    assert np.diff(found).sum() / 255 == pytest.approx(0.07097, abs=5e-6)


ECHELLE = [
    spec(1, 2, 5195.0, 0.2, polynomial(2, LEGENDRE)),
    spec(2, 0, 5100.0, 0.25, pixels=PIXELS - 10),
    spec(3, 0, 5000.0, 0.25),
]


def test_orders_of_an_echelle_become_one_spectrum_with_the_sigma_of_the_fourth_plane(tmp_path):
    values = np.ones((4, 3, PIXELS), "f4") * np.array([1, 2, 3], "f4")[None, :, None]
    values[3] = 0.1
    path = image(tmp_path / "a.fits", ECHELLE, planes=4, values=values)
    layout = ONE | {"row": "{arm}", "arms": [0, 1, 2], "error": 3, "error_kind": "sigma"}
    reader = reader_of(layout)
    found, stars = reader.wavelength(path), read_all(reader, path).columns
    assert (np.diff(found) > 0).all()
    for order, (first, pixels) in enumerate([(5195.0, PIXELS), (5100.0, 30), (5000.0, PIXELS)], 1):
        here = stars["flux"][0] == order
        assert here.sum() == pixels
        assert found[here].min() == pytest.approx(first, abs=0.2)
        np.testing.assert_allclose(stars["flux_error"][0][here], 0.1, rtol=1e-6)


def test_fibres_of_a_multispec_image_are_stars_with_wavelengths_and_names(tmp_path):
    path = image(tmp_path / "a.fits", ECHELLE, APID1="HD 1", APID2="HD 2", APID3="HD 3")
    layout = {"shape": "image_per_quantity", "flux": 0, "id": {"header": "APID{row}"}}
    stars = read_all(reader_of(layout), path).columns
    assert stars["name"].tolist() == [b"HD 1", b"HD 2", b"HD 3"]
    first = np.nanmin(stars["wavelength"], axis=1)
    np.testing.assert_allclose(first, [5194.81, 5100.0, 5000.0], atol=1e-6)


def test_a_section_of_an_image_has_the_wavelengths_of_its_pixels(tmp_path):
    line = spec(1, 0, 5000.0, 0.25, pixels=200)
    path = image(tmp_path / "a.fits", [line], LTV1=-100.0)
    np.testing.assert_allclose(reader_of(ONE).wavelength(path), 5025 + 0.25 * (PIXEL - 1))
    every_other = image(tmp_path / "b.fits", [line], LTV1=0.5, LTM1_1=0.5)
    np.testing.assert_allclose(reader_of(ONE).wavelength(every_other), 5000 + 0.5 * (PIXEL - 1))


def test_a_line_cut_out_of_an_image_keeps_its_wavelengths(tmp_path):
    path = tmp_path / "a.fits"
    image(path, ECHELLE, values=np.ones(PIXELS, "f4"), WAXMAP01="1 0 0 2", WCSDIM=2)
    np.testing.assert_allclose(reader_of(ONE).wavelength(path), 5000 + 0.25 * (PIXEL - 1))


@pytest.mark.parametrize(
    "line",
    [
        spec(2, 0, 5000.0, 0.25),
        spec(1, -1, 1.0, 1.0),
        spec(1, 2, 5000.0, 0.25, "1. 0. 6 2 0 1. 5000. 40. 5010."),
        spec(1, 2, 5000.0, 0.25, "1. 0. 1 4 1 40 5000. 4."),
        spec(1, 2, 5000.0, 0.25),
        spec(1, 2, 5000.0, 0.25, polynomial(1, CHEBYSHEV, 1, 1)),
        spec(1, 0, "5000.0E-4.0", 0.25),
        spec(1, 0, 0.0, 0.0),
        'spec1 = "1 2"',
    ],
    ids=["another line", "pixels", "sampled", "cut off", "no function", "no range", "glued",
         "zeros", "few fields"],
)  # fmt: skip
def test_lines_without_wavelengths_are_refused_with_a_cure(tmp_path, line):
    with pytest.raises(GridMismatch) as caught:
        reader_of(ONE).wavelength(image(tmp_path / "a.fits", [line]))
    assert caught.value.cure


def test_an_echelle_is_guessed_and_the_guess_can_be_tried(tmp_path):
    path = image(tmp_path / "a.fits", ECHELLE, planes=4)
    text = guess(path)
    assert 'row: "{arm}"' in text
    assert "error: 3" in text
    import yaml

    found = preview_file(path, IngestConfig.model_validate(yaml.safe_load(text)["ingest"]))
    assert found.error is None
    assert found.wavelength[0] == pytest.approx(5000.0)


# --- natural logarithms -------------------------------------------------------------------------

WAVES = np.exp(8.5 + 1e-4 * np.arange(PIXELS))
AXES = {
    "HERMES": {"CTYPE1": "log(wavelength)"},
    "LN-WAVE": {"CTYPE1": "LN-WAVE"},
    "LOG-LINEAR": {"CTYPE1": "LOG-LINEAR"},
    "WAVE-LOG": {"CTYPE1": "WAVE-LOG"},
    "a unit": {"CTYPE1": "WAVE", "CUNIT1": "ln(Angstrom)"},
    "a unit without a base": {"CTYPE1": "WAVE", "CUNIT1": "log(Angstrom)"},
}


@pytest.mark.parametrize("name", AXES)
def test_natural_logarithms_of_an_axis_are_known_by_its_keywords(tmp_path, name):
    hdu = fits.PrimaryHDU(np.ones(PIXELS, "f4"))
    hdu.header.update({"CRVAL1": 8.5, "CDELT1": 1e-4, "OBJECT": "HD 1"} | AXES[name])
    hdu.writeto(tmp_path / "a.fits")
    np.testing.assert_allclose(reader_of(ONE).wavelength(tmp_path / "a.fits"), WAVES)


@pytest.mark.parametrize("name", AXES)
def test_decimal_logarithms_stay_decimal_unless_the_file_says_natural(tmp_path, name):
    hdu = fits.PrimaryHDU(np.ones(PIXELS, "f4"))
    hdu.header.update({"CRVAL1": 3.7, "CDELT1": 1e-5, "OBJECT": "HD 1"} | AXES[name])
    hdu.writeto(tmp_path / "a.fits")
    reader = reader_of(ONE)
    if name in ("LN-WAVE", "a unit"):  # exp(3.7) Angstrom, 4 nm
        assert reader.wavelength(tmp_path / "a.fits")[0] == pytest.approx(np.exp(3.7))
        return
    found = reader.wavelength(tmp_path / "a.fits")
    np.testing.assert_allclose(found, 10 ** (3.7 + 1e-5 * np.arange(PIXELS)))


@pytest.mark.parametrize("column", ["ln_wave", "lnlam", "log_e_lambda", "loglam", "logwave"])
@pytest.mark.parametrize("fmt", ["csv", "fits"])
def test_natural_logarithms_in_columns_are_known_by_their_names(tmp_path, column, fmt):
    path = tmp_path / f"a.{fmt}"
    Table({column: np.log(WAVES), "flux": np.ones(PIXELS)}).write(path)
    layout = {"shape": "row_per_pixel", "flux": "flux", "wavelength": column,
              "id": {"file_name": f"(.*)[.]{fmt}"}}  # fmt: skip
    np.testing.assert_allclose(reader_of(layout).wavelength(path), WAVES)
    assert 'spacing: "ln"' not in guess(path)  # the name says it


def test_columns_that_do_not_say_so_are_natural_logarithms_by_the_layout(tmp_path):
    path = tmp_path / "a.csv"
    Table({"wave": np.log(WAVES), "flux": np.ones(PIXELS)}).write(path)
    layout = {"shape": "row_per_pixel", "flux": "flux", "wavelength": "wave", "spacing": "ln",
              "id": {"file_name": "(.*)[.]csv"}}  # fmt: skip
    np.testing.assert_allclose(reader_of(layout).wavelength(path), WAVES)
    assert 'spacing: "ln"' in guess(path)


def test_a_table_reader_takes_natural_logarithms_by_header_and_by_configuration(tmp_path):
    rows = Table({"source_id": [1, 2], "flux": np.ones((2, PIXELS))})
    rows.meta.update(CRVAL1=8.5, CDELT1=1e-4, CTYPE1="LN-WAVE")
    rows.write(tmp_path / "a.fits")
    files = SpectraFilesConfig(reader="table", files="*")
    found = make_reader(files, ReadRequest("spectra", GRID)).wavelength(tmp_path / "a.fits")
    np.testing.assert_allclose(found, WAVES)
    declared = GRID.model_copy(update={"start": WAVES[0], "step": 1e-4, "size": PIXELS,
                                       "spacing": "ln"})  # fmt: skip
    found = make_reader(files, ReadRequest("spectra", declared)).wavelength(tmp_path / "a.fits")
    np.testing.assert_allclose(found, WAVES)
