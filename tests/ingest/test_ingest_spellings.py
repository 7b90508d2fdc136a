"""What files say of their spectra, as programs and archives spell it: the same, or refused."""

import numpy as np
import pytest
from astropy.io import fits
from astropy.table import Table
from conformance.reader_checks import read_all

from distcnn.config import GridConfig, SpectraFilesConfig
from distcnn.errors import GridMismatch
from distcnn.ingest.readers import ReadRequest, make_reader
from distcnn.ingest.readers.statements.flux_units import flux_factor, flux_unit

PIXELS = 30
LAYOUT = {"shape": "image_rows", "flux": 0, "error": 1, "error_kind": "sigma",
          "id": {"header": "OBJECT"}}  # fmt: skip
LINEAR = {"CTYPE1": "LINEAR", "CRVAL1": 5000.0, "CDELT1": 0.5, "OBJECT": "HD 1"}


def reader_of(layout, **grid):
    files = SpectraFilesConfig.model_validate(
        {"reader": "described", "files": "*", "layout": layout}
    )
    said = {"unit": "Angstrom", "medium": "vacuum", "frame": "barycentric"} | grid
    grid = GridConfig.model_validate({k: v for k, v in said.items() if v})
    return make_reader(files, ReadRequest("spectra", grid))


def image(path, **keywords):
    hdu = fits.PrimaryHDU(np.ones((2, PIXELS), "f4"))
    hdu.header.update(LINEAR | keywords)
    hdu.writeto(path)
    return path


READ_AS_WAVELENGTHS = {
    "LINEAR": {},
    "LAMBDA": {},
    "WAVELENGTH": {},
    "WAVE": {},
    "no unit": {"CUNIT1": ""},
    "Angstroms": {"CUNIT1": "Angstroms"},
    "capitals": {"CUNIT1": "ANGSTROM"},
    "German": {"CUNIT1": "Angstroem"},
    "a full stop": {"CUNIT1": "Ang."},
    "tenths of nanometres": {"CUNIT1": "0.1nm"},
    "a power of metres": {"CUNIT1": "10**-10 m"},
    "a note": {"CUNIT1": "Angstrom (vacuum)"},
    "PC1_1": {"CDELT1": 1.0, "PC1_1": 0.5},
    "texts": {"CRVAL1": "5000.0", "CDELT1": "0.5"},
    "a reference inside": {"CRVAL1": 5005.0, "CRPIX1": 11.0},
}


@pytest.mark.parametrize("name", READ_AS_WAVELENGTHS)
def test_axes_of_wavelengths_are_one_whatever_they_are_called(tmp_path, name):
    keywords = READ_AS_WAVELENGTHS[name]
    code = name if name.isupper() and not keywords else "WAVE"
    path = image(tmp_path / "a.fits", **{"CTYPE1": code, **keywords})
    found = reader_of(LAYOUT).wavelength(path)
    np.testing.assert_allclose(found, 5000 + 0.5 * np.arange(PIXELS))


@pytest.mark.parametrize(
    "keywords",
    [
        *({"CTYPE1": code} for code in ("PIXEL", "MULTISPE", "WAVE-TAB", "AWAV-GRI", "WAVE-F2W")),
        *({"CTYPE1": code} for code in ("FREQ", "FREQ-LOG", "WAVN", "ENER", "VELO", "VRAD")),
        {"CUNIT1": "pixel"},
        {"CUNIT1": "log10(Angstrom)"},
        {"CUNIT1": "um"},
        {"CUNIT1": "Hz"},
    ],
    ids=lambda keywords: ", ".join(f"{k} {v}" for k, v in keywords.items()),
)
def test_axes_that_do_not_give_wavelengths_are_refused(tmp_path, keywords):
    with pytest.raises(GridMismatch) as caught:
        reader_of(LAYOUT).wavelength(image(tmp_path / "a.fits", **keywords))
    assert caught.value.cure


@pytest.mark.parametrize(
    ("keywords", "medium", "frame"),
    [
        ({"CUNIT1": "Angstrom (vacuum)", "HELIO": True}, "vacuum", "barycentric"),
        ({"CUNIT1": "Angstrom, air", "HELIO": False}, "air", "topocentric"),
        ({"VACUUM": False, "BARYCORR": "F"}, "air", "topocentric"),
        ({"CTYPE1": "AWAV", "SPECSYS": "SOURCE"}, "air", "stellar rest"),
    ],
)
def test_medium_and_frame_are_what_the_keywords_say(tmp_path, keywords, medium, frame):
    path = image(tmp_path / "a.fits", **keywords)
    stated = reader_of(LAYOUT).statements(path)
    assert (stated.medium.value, stated.frame.value) == (medium, frame)


CGS = "erg/(s cm2 Angstrom)"
SPELT = {
    1.0: ("erg/s/cm**2/A", "erg/s/cm2/AA", "ERG/S/CM**2/A", "ergs/sec/cm^2/A", "erg s-1 cm-2 A-1",
          "erg.s**(-1).cm**(-2).angstrom**(-1)", "erg/s/cm^2/Angstroms", "erg/s/cm2/\u00c5"),
    1e-17: ("1E-17 erg/cm^2/s/Ang", "10**-17 erg/(s cm2 Angstrom)", "10^(-17) erg/s/cm^2/A",
            "10(-17)erg/cm/cm/s/A", "10-17 erg/s/cm2/A", "1e-17*erg/s/cm2/AA"),
    100.0: ("W m-2 nm-1",),
    1e-4: ("10^(-3)*J/s/m^2/um",),
}  # fmt: skip


@pytest.mark.parametrize(("factor", "text"), [(f, text) for f in SPELT for text in SPELT[f]])
def test_units_of_flux_are_one_however_they_are_spelt(factor, text):
    assert flux_factor(text, CGS) == pytest.approx(factor)


def test_units_of_flux_that_are_counts_or_nothing_are_known():
    assert flux_unit("electrons") == flux_unit("electron")
    assert flux_unit("counts") == flux_unit("ct")
    assert flux_unit("Normalized") == flux_unit("1") == flux_unit("")
    assert flux_unit("A").to_string() == "A"  # without light it is the ampere


@pytest.mark.parametrize("key", ["HIERARCH ESO OBS TARG NAME", "eso obs targ name"])
def test_long_keywords_of_eso_name_the_star(tmp_path, key):
    path = image(tmp_path / "a.fits", **{"HIERARCH ESO OBS TARG NAME": "HD 2"})
    reader = reader_of(LAYOUT | {"id": {"header": key}})
    assert read_all(reader, path).columns["name"].tolist() == [b"HD 2"]


def eso_table(path, *, mask=0, **names):
    """A table of one row as ESO's standard has it, with columns called otherwise."""
    flux = np.ones((1, PIXELS))
    columns = {"WAVE": 5000 + 0.5 * np.arange(PIXELS)[None], names.get("flux", "FLUX"): 2 * flux,
               names.get("error", "ERR"): flux, "BGFLUX": 9 * flux,
               "QUAL": np.full((1, PIXELS), mask, "i4")}  # fmt: skip
    hdu = fits.table_to_hdu(Table(columns))
    hdu.header["TNULL5"] = -1
    axes = ("SpectralAxis.Value", "FluxAxis.Value", "FluxAxis.Accuracy.StatError", "FluxAxis.Value")
    for number, axis in enumerate(axes, 1):
        hdu.header[f"TUTYP{number}"] = f"spec:Data.{axis}"
    hdu.header["TUCD1"], hdu.header["TUCD2"] = "em.wl;obs.atmos", "phot.flux.density;meta.main"
    hdu.header["OBJECT"] = "HD 1"
    hdu.writeto(path)
    return path


ESO = {"shape": "row_per_star", "flux": "FLUX", "error": "ERR", "error_kind": "sigma",
       "wavelength": "WAVE", "masks": [{"place": "QUAL"}], "id": {"header": "OBJECT"}}  # fmt: skip


@pytest.mark.parametrize("names", [{}, {"flux": "FLUX_REDUCED", "error": "ERR_REDUCED"}])
def test_columns_are_found_by_the_utypes_of_the_spectral_data_model(tmp_path, names):
    path = eso_table(tmp_path / "a.fits", **names)
    reader = reader_of(ESO, medium="air")
    block = read_all(reader, path)
    assert (block.columns["flux"] == 2).all()
    assert (block.columns["flux_error"] == 1).all()


@pytest.mark.parametrize(("mask", "good"), [(0, True), (-1, True), (4, False)])
def test_a_mask_that_is_null_throughout_says_nothing(tmp_path, mask, good):
    path = eso_table(tmp_path / "a.fits", mask=mask)
    flux = read_all(reader_of(ESO, medium="air"), path).columns["flux"]
    assert np.isfinite(flux).all() == good
