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


class TestDescribed(SpectraReaderChecks):
    @pytest.fixture
    def reader(self):
        return reader_of(TABLE)

    @pytest.fixture
    def stars(self):
        return [11, 12, 13, 14, 15, 16]

    @pytest.fixture
    def good(self, tmp_path, stars):
        flux, sigma = spectra(len(stars))
        columns = [
            fits.Column("star", "K", array=stars),
            fits.Column("lambda", f"{PIXELS}D", array=np.tile(LINEAR, (len(stars), 1))),
            fits.Column("flux", f"{PIXELS}E", array=flux),
            fits.Column("noise", f"{PIXELS}E", array=sigma),
        ]
        path = tmp_path / "stars.fits"
        fits.BinTableHDU.from_columns(columns).writeto(path)
        return path


TABLE = {
    "shape": "row_per_star",
    "hdu": 1,
    "flux": "flux",
    "error": "noise",
    "error_kind": "sigma",
    "wavelength": "lambda",
    "id": {"column": "star"},
}


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
