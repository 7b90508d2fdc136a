"""Files of spectra by description: every layout, kind of error, of wavelength and of identifier."""

import numpy as np
import pytest
from astropy.io import fits
from conformance.reader_checks import SpectraReaderChecks, read_all
from layout_files import (
    ERRORS,
    IDS,
    LINEAR,
    PIXELS,
    SHAPES,
    WAVELENGTHS,
    reader_of,
    spectra,
    write_layout,
)

STARS = [11, 12, 13, 14, 15, 16]
TABLE = {
    "shape": "row_per_star",
    "hdu": 1,
    "flux": "flux",
    "error": "noise",
    "error_kind": "sigma",
    "wavelength": "lambda",
    "id": {"column": "star"},
}
PIXEL_TABLE = {**TABLE, "shape": "row_per_pixel"}
IMAGES = {
    "shape": "image_per_quantity",
    "flux": "F",
    "error": "N",
    "error_kind": "sigma",
    "wavelength": "W",
    "id": {"column": "star", "hdu": "TARGETS"},
}

ROWS = {
    "shape": "image_rows",
    "flux": 0,
    "error": 1,
    "error_kind": "sigma",
    "wavelength": 2,
    "id": {"header": "STAR"},
}


class DescribedChecks(SpectraReaderChecks):
    """The kit of readers for one shape of files."""

    layout = TABLE

    @pytest.fixture
    def reader(self):
        return reader_of(self.layout)

    @pytest.fixture
    def stars(self):
        return STARS


class TestDescribedTable(DescribedChecks):
    @pytest.fixture
    def good(self, tmp_path):
        flux, sigma = spectra(len(STARS))
        columns = [
            fits.Column("star", "K", array=STARS),
            fits.Column("lambda", f"{PIXELS}D", array=np.tile(LINEAR, (len(STARS), 1))),
            fits.Column("flux", f"{PIXELS}E", array=flux),
            fits.Column("noise", f"{PIXELS}E", array=sigma),
        ]
        path = tmp_path / "stars.fits"
        fits.BinTableHDU.from_columns(columns).writeto(path)
        return path


class TestDescribedPixels(DescribedChecks):
    layout = PIXEL_TABLE

    @pytest.fixture
    def good(self, tmp_path):
        flux, sigma = spectra(len(STARS))
        columns = [
            fits.Column("star", "K", array=np.repeat(STARS, PIXELS)),
            fits.Column("lambda", "D", array=np.tile(LINEAR, len(STARS))),
            fits.Column("flux", "E", array=flux.ravel()),
            fits.Column("noise", "E", array=sigma.ravel()),
        ]
        path = tmp_path / "pixels.fits"
        fits.BinTableHDU.from_columns(columns).writeto(path)
        return path


class TestDescribedImages(DescribedChecks):
    layout = IMAGES

    @pytest.fixture
    def good(self, tmp_path):
        flux, sigma = spectra(len(STARS))
        targets = fits.BinTableHDU.from_columns([fits.Column("star", "K", array=STARS)])
        targets.name = "TARGETS"
        images = [fits.ImageHDU(a, name=n) for n, a in (("F", flux), ("N", sigma), ("W", LINEAR))]
        path = tmp_path / "images.fits"
        fits.HDUList([fits.PrimaryHDU(), targets, *images]).writeto(path)
        return path


class TestDescribedRowsOfAnImage(DescribedChecks):
    layout = ROWS

    @pytest.fixture
    def stars(self):
        return STARS[:1]

    @pytest.fixture
    def good(self, tmp_path):
        flux, sigma = (np.tile(one, 20)[0] for one in spectra(1))
        hdu = fits.PrimaryHDU(np.array([flux, sigma, 5000.0 + 0.5 * np.arange(flux.size)]))
        hdu.header["STAR"] = STARS[0]
        path = tmp_path / "star.fits"
        hdu.writeto(path)
        return path


@pytest.mark.parametrize("identifier", IDS)
@pytest.mark.parametrize("wave", WAVELENGTHS)
@pytest.mark.parametrize("error", ERRORS)
@pytest.mark.parametrize("shape", SHAPES)
def test_every_layout_gives_the_same_spectra(tmp_path, shape, error, wave, identifier):
    path, layout, stars = write_layout(tmp_path, shape, error, wave, identifier)
    reader = reader_of(layout)
    grid = WAVELENGTHS[wave][0]
    order = np.argsort(grid)
    flux, sigma = spectra(len(stars))
    np.testing.assert_allclose(reader.wavelength(path), grid[order], rtol=1e-12)
    block = read_all(reader, path)
    assert block.columns["source_id"].tolist() == stars
    assert block.rejected == ()
    np.testing.assert_allclose(block.columns["flux"], flux[:, order], rtol=1e-6)
    np.testing.assert_allclose(block.columns["flux_error"], sigma[:, order], rtol=1e-6)
    said = reader.statements(path).medium
    assert (said.value if said else None) == ("air" if wave == "awav" else None)
