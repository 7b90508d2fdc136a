"""Every reader passes the conformance kit, in every format that it knows."""

import gzip

import numpy as np
import pytest
from astropy.io.votable import writeto
from astropy.table import Table
from conformance.reader_checks import ReaderChecks, SpectraReaderChecks, read_all
from readers_of_archives import BANDS, CENTRES, STARS, reader_for, spectra_table
from tiny_archive import PIXELS, array_text, write_all_star

from distcnn.config import CutConfig, FilesConfig, GridConfig
from distcnn.ingest.readers import ReadRequest, make_reader
from distcnn.schema import Reason


class TestGaiaRvs(SpectraReaderChecks):
    @pytest.fixture
    def reader(self):
        return reader_for("gaia_rvs", "spectra")

    @pytest.fixture
    def good(self, archive):
        archive.write()
        return archive.folder / archive.name("Rvs")

    @pytest.fixture
    def stars(self, archive):
        return archive.source_id[:9]

    def test_flux_is_what_was_written(self, reader, good, archive):
        block = read_all(reader, good)
        for row, flux in zip(block.columns["flux"], archive.flux, strict=False):
            np.testing.assert_array_equal(row, np.round(flux, 6).astype(np.float32))


class TestPlainCsvRvs(TestGaiaRvs):
    @pytest.fixture
    def good(self, archive, tmp_path):
        archive.write()
        packed = gzip.decompress((archive.folder / archive.name("Rvs")).read_bytes())
        lines = [line for line in packed.splitlines(keepends=True) if not line.startswith(b"#")]
        path = tmp_path / "RvsMeanSpectrum.csv"
        path.write_bytes(b"".join(lines))
        return path


class TestGaiaRvsDatalink(SpectraReaderChecks):
    @pytest.fixture
    def reader(self):
        return reader_for("gaia_rvs_datalink", "spectra")

    @pytest.fixture
    def good(self, tmp_path):
        path = tmp_path / "datalink.csv"
        path.write_text(datalink_text(STARS))
        return path

    @pytest.fixture
    def stars(self):
        return STARS

    def test_empty_fields_are_missing_pixels(self, reader, good):
        flux = read_all(reader, good).columns["flux"]
        assert np.isnan(flux[:, 0]).all()
        assert np.isfinite(flux[:, 1:]).all()

    def test_a_star_on_another_grid_is_quarantined(self, reader, tmp_path):
        path = tmp_path / "other.csv"
        path.write_text(datalink_text([11]) + datalink_text([12], shift=0.005, header=False))
        block = read_all(reader, path)
        assert block.columns["source_id"].tolist() == [11]
        assert block.rejected[0].reason is Reason.GRID
        assert block.rejected[0].row == PIXELS + 1
        assert "846.005" in block.rejected[0].detail

    def test_a_star_with_a_bad_pixel_is_quarantined_and_the_others_stay(self, reader, tmp_path):
        path = tmp_path / "bad.csv"
        lines = datalink_text([11, 12, 13]).splitlines()
        lines[PIXELS + 5] = lines[PIXELS + 5].replace("1.0,0.1", "one,0.1")
        path.write_text("\n".join(lines) + "\n")
        block = read_all(reader, path)
        assert block.columns["source_id"].tolist() == [11, 13]
        assert [r.source_id for r in block.rejected] == [12]
        assert block.rejected[0].reason is Reason.NOT_A_NUMBER
        assert "'one'" in block.rejected[0].detail

    def test_a_star_that_lacks_pixels_is_quarantined(self, reader, tmp_path):
        path = tmp_path / "short.csv"
        path.write_text("\n".join(datalink_text([11, 12]).splitlines()[:-3]) + "\n")
        block = read_all(reader, path)
        assert block.columns["source_id"].tolist() == [11]
        assert block.rejected[0].reason is Reason.ARRAY_LENGTH

    def test_without_a_declared_grid_the_first_star_gives_it(self, good):
        request = ReadRequest("spectra", GridConfig())
        reader = make_reader(FilesConfig(reader="gaia_rvs_datalink", files="*"), request)
        np.testing.assert_allclose(reader.wavelength(good), CENTRES)


def datalink_text(stars: list[int], shift: float = 0.0, header: bool = True) -> str:
    lines = ["source_id,wavelength,flux,flux_error,ra,dec"] if header else []
    for star in stars:
        for index, wavelength in enumerate(CENTRES):
            flux = "," if index == 0 else "1.0,0.1"
            lines.append(f"{star},{wavelength + shift:.4f},{flux},10.0,20.0")
    return "\n".join(lines) + "\n"


class TestGaiaSource(ReaderChecks):
    @pytest.fixture
    def reader(self):
        return reader_for("gaia_source", "source")

    @pytest.fixture
    def good(self, archive):
        archive.write()
        return archive.folder / archive.name("GaiaSource")

    @pytest.fixture
    def stars(self, archive):
        return [star + extra for star in archive.source_id[:9] for extra in (0, 1)]

    def test_null_is_missing(self, reader, good):
        block = read_all(reader, good)
        assert np.isnan(block.columns["parallax"][2])
        assert np.isnan(block.columns["snr"][4])
        assert block.columns["photometry"].shape == (18, 2)


class TestGaiaSourceVotable(ReaderChecks):
    @pytest.fixture
    def reader(self):
        return reader_for("gaia_source", "source")

    @pytest.fixture
    def good(self, tmp_path):
        path = tmp_path / "result.vot"
        writeto(source_table(), str(path))
        return path

    @pytest.fixture
    def stars(self):
        return STARS


class TestGaiaSourceFits(TestGaiaSourceVotable):
    @pytest.fixture
    def good(self, tmp_path):
        path = tmp_path / "result.fits"
        source_table().write(path)
        return path


def source_table() -> Table:
    names = ("ra", "dec", "parallax", "parallax_error", *BANDS)
    numbers = {name: np.arange(6.0) + i for i, name in enumerate(names)}
    return Table({"SOURCE_ID": np.array(STARS), **numbers})


class TestGaiaXp(ReaderChecks):
    @pytest.fixture
    def reader(self):
        return reader_for("gaia_xp", "xp")

    @pytest.fixture
    def good(self, archive):
        archive.write()
        return archive.folder / archive.name("Xp")

    @pytest.fixture
    def stars(self, archive):
        return [star for i, star in enumerate(archive.source_id[:9]) if i != 3]

    def test_a_star_without_bp_keeps_its_rp(self, reader, good):
        xp = read_all(reader, good).columns["xp"]
        assert np.isnan(xp[3, :55]).all()
        assert np.isfinite(xp[3, 55:]).all()


class TestGaiaXpFits(TestGaiaXp):
    @pytest.fixture
    def good(self, tmp_path):
        path = tmp_path / "xp.fits"
        wide = {"source_id": np.array(STARS)}
        for stem in ("bp_coeff", "rp_coeff", "e_bp_coeff", "e_rp_coeff"):
            wide |= {f"{stem}_{i}": np.arange(6.0, dtype="f4") + i for i in range(55)}
            wide[f"{stem}_0"][3] = np.nan
        Table(wide).write(path)
        return path

    @pytest.fixture
    def stars(self):
        return STARS

    def test_a_star_without_bp_keeps_its_rp(self, reader, good):
        xp = read_all(reader, good).columns["xp"]
        np.testing.assert_array_equal(xp[1, :55], np.arange(55) + 1)
        np.testing.assert_array_equal(xp[1, 55:], np.arange(55) + 1)


class TestApogee(ReaderChecks):
    @pytest.fixture
    def reader(self):
        return reader_for("apogee", "labels", cuts=(CutConfig(column="SNR", minimum=1),))

    @pytest.fixture
    def good(self, tmp_path):
        path = tmp_path / "allStar.fits"
        write_all_star(path, np.array(STARS))
        return path

    @pytest.fixture
    def stars(self):
        return [11, *STARS]

    def test_sentinels_are_missing_and_cut_columns_come_along(self, reader, good):
        block = read_all(reader, good)
        assert np.isnan(block.columns["label"][4, 2])
        assert block.columns["cut/SNR"][0] == pytest.approx(80)
        np.testing.assert_allclose(block.columns["label_error"], 0.1)


class TestTableOfSpectra(SpectraReaderChecks):
    @pytest.fixture
    def reader(self):
        columns = {"source_id": "name", "flux": "spec", "flux_error": "err", "snr": "sn"}
        return reader_for("table", "spectra", columns=columns)

    @pytest.fixture
    def good(self, tmp_path):
        path = tmp_path / "spectra.fits"
        spectra_table().write(path)
        return path

    @pytest.fixture
    def stars(self):
        return [5, 6, 7, 8, 9, 10]

    def test_every_star_has_its_spectrum(self, reader, good):
        block = read_all(reader, good)
        np.testing.assert_allclose(block.columns["flux"][:, 3], np.arange(6))
        assert block.columns["snr"].tolist() == [50.0] * 6


class TestTableOfSpectraInParquet(TestTableOfSpectra):
    @pytest.fixture
    def good(self, tmp_path):
        path = tmp_path / "spectra.parquet"
        table = spectra_table()
        frame = {name: list(table[name]) for name in table.colnames}
        import pyarrow as pa
        import pyarrow.parquet as pq

        pq.write_table(pa.table(frame), path, row_group_size=4)
        return path


class TestTableOfSpectraInGzippedFits(TestTableOfSpectra):
    @pytest.fixture
    def good(self, tmp_path):
        path = tmp_path / "spectra.fits.gz"
        spectra_table().write(path)
        return path


class TestTableOfSpectraInCsv(TestTableOfSpectra):
    @pytest.fixture
    def good(self, tmp_path):
        path = tmp_path / "spectra.csv"
        rows = [
            f"{name},{array_text(flux, '()')},{array_text(error)},50.0"
            for name, flux, error, _ in spectra_table().iterrows()
        ]
        path.write_text("\n".join(["name,spec,err,sn", *rows]) + "\n")
        return path
