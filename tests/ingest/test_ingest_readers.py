"""Every reader passes the conformance kit, in every format that it knows."""

import csv
import gzip
import io
from pathlib import Path

import numpy as np
import pytest
from astropy.io.votable import writeto
from astropy.table import Table
from conformance.reader_checks import ReaderChecks, SpectraReaderChecks, read_all
from hypothesis import given
from hypothesis import strategies as st
from tiny_archive import LABELS, PIXELS, TinyArchive, array_text, write_all_star

from distcnn.config import CutConfig, FilesConfig, GridConfig
from distcnn.errors import ColumnMissing, ConfigError, FileBroken, GridMismatch
from distcnn.ingest.readers import READERS, Reader, ReadRequest, SpectraReader, make_reader
from distcnn.ingest.readers.formats.text.fields import _to_array_slowly, split_row, to_array
from distcnn.ingest.readers.registry import known_variables
from distcnn.schema import Reason

GRID = GridConfig(start=846.0, step=0.01, size=PIXELS)
CENTRES = 846.0 + 0.01 * np.arange(PIXELS)
STARS = [11, 12, 13, 14, 15, 16]
BANDS = ("phot_g_mean_mag", "phot_bp_mean_mag")


def reader_for(name: str, kind: str, **files):
    request = ReadRequest(kind, GRID, BANDS, tuple(LABELS), files.pop("cuts", ()))
    return make_reader(FilesConfig(reader=name, files="*", **files), request)


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


def spectra_table() -> Table:
    flux = np.arange(6.0, dtype="f4")[:, None] + np.zeros((6, PIXELS), "f4")
    names = [f"{number:04d}" for number in range(5, 11)]
    return Table({"name": names, "spec": flux, "err": flux + 0.1, "sn": np.full(6, 50.0)})


# --- what the kit cannot know ----------------------------------------------------------------


def test_text_identifiers_get_the_same_number_everywhere(tmp_path):
    names = ["Sun", "HD 1", "17", "Sun"]
    Table({"star": names, "teff": [1.0, 2.0, 3.0, 4.0]}).write(tmp_path / "a.fits")
    (tmp_path / "a.csv").write_text("star,teff\n" + "".join(f"{n},1\n" for n in names))
    request = ReadRequest("labels", labels=("teff",))
    files = FilesConfig(reader="table", files="*", columns={"source_id": "star"})
    reader = make_reader(files, request)
    fits, csv = (
        read_all(reader, tmp_path / name).columns["source_id"] for name in ("a.fits", "a.csv")
    )
    assert fits.tolist() == csv.tolist()
    assert fits[2] == 17
    assert fits[0] == fits[3] == 7104055018443921519
    assert (fits > 0).all()


@pytest.mark.parametrize(
    "header",
    [
        {"CRVAL1": 846.0, "CDELT1": 0.01},
        {"CRVAL1": 846.02, "CD1_1": 0.01, "CRPIX1": 3},
        {"WAVE0": 846.0, "DWAVE": 0.01},
        {"COEFF0": np.log10(846.0), "COEFF1": 0.01 / 846 / np.log(10)},
    ],
)
def test_the_grid_may_stand_in_the_header(tmp_path, header):
    table = spectra_table()
    table.meta.update(header)
    table.write(tmp_path / "s.fits")
    files = FilesConfig(reader="table", files="*", columns={"source_id": "name", "flux": "spec"})
    reader = make_reader(files, ReadRequest("spectra", GridConfig()))
    np.testing.assert_allclose(reader.wavelength(tmp_path / "s.fits"), CENTRES, atol=3e-4)


def test_a_header_that_contradicts_the_declared_grid_is_refused(tmp_path):
    table = spectra_table()
    table.meta.update({"CRVAL1": 500.0, "CDELT1": 0.01})
    table.write(tmp_path / "s.fits")
    reader = reader_for("table", "spectra", columns={"source_id": "name", "flux": "spec"})
    with pytest.raises(GridMismatch, match=r"s\.fits, row 0.*500") as caught:
        read_all(reader, tmp_path / "s.fits")
    assert "ingest.grid" in caught.value.cure


def test_scalar_columns_can_make_up_a_spectrum(tmp_path):
    table = Table({"source_id": STARS, **{f"p{i}": np.full(6, float(i)) for i in range(3)}})
    table.write(tmp_path / "s.fits")
    files = FilesConfig(reader="table", files="*", columns={"flux": ("p0", "p1", "p2")})
    reader = make_reader(files, ReadRequest("spectra", GridConfig(start=1, step=1, size=3)))
    assert read_all(reader, tmp_path / "s.fits").columns["flux"].tolist() == [[0, 1, 2]] * 6


@pytest.mark.parametrize("token", ["1.", ".5", "1e-3", "-7", "inf"])
def test_numbers_that_json_does_not_know_are_numbers_all_the_same(token):
    assert to_array(f"[1.0,{token}]".encode(), 2, "flux")[1] == float(token)


FIELDS = st.lists(st.text('abc ,[1.5]"NaN-', max_size=12), min_size=2, max_size=6)


@given(FIELDS)
def test_fields_are_those_of_the_csv_module(values):
    stream = io.StringIO()
    csv.writer(stream, lineterminator="").writerow(values)
    assert split_row(stream.getvalue().encode()) == [value.encode() for value in values]


NUMBERS = st.floats(-1e6, 1e6, width=32) | st.just(float("nan"))


@given(st.lists(NUMBERS, min_size=1, max_size=30), st.sampled_from(["[]", "()"]))
def test_arrays_are_parsed_alike_fast_and_slowly(values, brackets):
    texts = ("NaN" if np.isnan(value) else str(np.float32(value)) for value in values)
    text = f"{brackets[0]}{','.join(texts)}{brackets[1]}".encode()
    fast, slow = (parse(text, len(values), "flux") for parse in (to_array, _to_array_slowly))
    np.testing.assert_array_equal(fast, slow)
    np.testing.assert_array_equal(fast.astype("f4"), np.array(values, "f4"))


def test_quoted_quotes_do_not_confuse_the_fields():
    assert split_row(b'1,"a ""b"", c",2') == [b"1", b'a "b", c', b"2"]
    assert split_row(b'"[1,2]","[3]",,"",x') == [b"[1,2]", b"[3]", b"", b"", b"x"]


@pytest.mark.parametrize(
    ("kind", "name", "column"),
    [
        ("spectra", "gaia_rvs", "flux_error"),
        ("source", "gaia_source", "parallax"),
        ("source", "gaia_source", "phot_bp_mean_mag"),
        ("xp", "gaia_xp", "rp_coefficients"),
    ],
)
def test_a_missing_column_is_named_with_what_is_there(archive, kind, name, column):
    starts = {"spectra": "Rvs", "source": "GaiaSource", "xp": "Xp"}[kind]
    file = archive.name(starts)
    archive.headers[file] = archive.headers[file].replace(column, f"my_{column}", 1)
    archive.write()
    with pytest.raises(ColumnMissing, match=f"{file}, row 0") as caught:
        read_all(reader_for(name, kind), archive.folder / file)
    assert repr(column) in str(caught.value)
    assert "source_id" in str(caught.value)
    assert "'columns'" in caught.value.cure


def test_a_missing_column_of_the_label_table_is_named(tmp_path):
    Table({"GAIAEDR3_SOURCE_ID": STARS, "TEFF": np.ones(6)}).write(tmp_path / "allStar.fits")
    with pytest.raises(ColumnMissing, match=r"allStar\.fits.*'LOGG'"):
        read_all(reader_for("apogee", "labels"), tmp_path / "allStar.fits")


def test_columns_may_have_other_names_by_configuration(archive):
    file = archive.name("GaiaSource")
    archive.headers[file] = archive.headers[file].replace("parallax,", "plx,", 1)
    archive.write()
    reader = reader_for("gaia_source", "source", columns={"parallax": "plx"})
    assert np.isfinite(read_all(reader, archive.folder / file).columns["parallax"][0])


def test_a_reader_that_does_not_exist_is_refused_with_those_that_do():
    with pytest.raises(ConfigError, match="one of gaia_rvs, gaia_rvs_datalink, ") as caught:
        reader_for("galah", "spectra")
    for name in ("gaia_rvs", "gaia_rvs_datalink", "table"):
        assert f"{name}: {READERS[name].sentence}" in caught.value.cure
    assert "registry.py" in caught.value.cure
    with pytest.raises(ConfigError, match=r"ingest\.xp\.reader"):
        reader_for("apogee", "xp")


WITH_COLUMNS = {name: row for name, row in READERS.items() if name != "described"}
"""Readers that are told by columns; of the other the layout has all: test_ingest_layout_rules."""


@pytest.mark.parametrize("name", sorted(WITH_COLUMNS))
def test_every_row_of_the_registry_makes_a_reader_of_each_of_its_kinds(name):
    for kind in READERS[name].variables:
        reader = reader_for(name, kind)
        assert isinstance(reader, SpectraReader if kind == "spectra" else Reader)


@pytest.mark.parametrize(
    ("name", "kind"), [(name, kind) for name, row in WITH_COLUMNS.items() for kind in row.variables]
)
def test_a_variable_that_a_reader_does_not_know_is_refused_with_those_it_knows(name, kind):
    for wrong in ("spam", "flux_err", "teff_err"):
        with pytest.raises(ConfigError, match=f"columns names '{wrong}'") as caught:
            reader_for(name, kind, columns={wrong: "x"})
        assert "source_id" in caught.value.expected
    with pytest.raises(ConfigError, match="Did you mean 'source_id'"):
        reader_for(name, kind, columns={"sourceid": "x"})
    with pytest.raises(ConfigError, match="the name of one column"):
        reader_for(name, kind, columns={"source_id": ("a", "b")})


@pytest.mark.parametrize("name", sorted(READERS.keys() - {"table"}))
def test_every_variable_that_a_reader_is_said_to_know_is_looked_for(name):
    (kind,) = READERS[name].variables
    request = ReadRequest(kind, GRID, BANDS, tuple(LABELS))
    known = known_variables(READERS[name], request)
    for variable in known:
        if variable.removesuffix("_error") in LABELS or kind != "labels":
            reader = reader_for(name, kind, columns={variable: "own"})
            assert "'own'" in repr(vars(reader.reader)), variable


def test_a_file_of_no_known_format_is_refused(tmp_path):
    (tmp_path / "x.doc").write_bytes(b"...")
    with pytest.raises(FileBroken, match="'doc' is no known format"):
        read_all(reader_for("gaia_source", "source"), tmp_path / "x.doc")


def test_a_table_with_a_header_only_is_refused(tmp_path, archive: TinyArchive):
    for kind, name in (("spectra", "gaia_rvs"), ("source", "gaia_source"), ("xp", "gaia_xp")):
        file = archive.name({"spectra": "Rvs", "source": "Gaia", "xp": "Xp"}[kind])
        path = tmp_path / f"{name}.csv"
        path.write_text(archive.headers[file] + "\n")
        with pytest.raises(FileBroken, match=rf"{path.name}, row 0.*no rows"):
            read_all(reader_for(name, kind), path)


def test_a_folder_of_rows_is_read_with_the_row_of_every_problem(archive: TinyArchive):
    file = archive.name("GaiaSource")
    lines = archive.lines[file]
    lines[2] = lines[2].replace(",0.02,", ",small,")
    lines[5] = lines[5].rsplit(",", 1)[0]
    lines[8] = lines[8].replace(str(archive.source_id[4]), "-4")
    archive.write()
    block = read_all(reader_for("gaia_source", "source"), archive.folder / file)
    assert [(r.row, r.reason) for r in block.rejected] == [
        (3, Reason.NOT_A_NUMBER),
        (6, Reason.MALFORMED),
        (9, Reason.BAD_ID),
    ]
    assert len(block) == 15
    assert "parallax_error is 'small'" in block.rejected[0].detail


def test_unreadable_zip_archives_are_named(tmp_path: Path):
    (tmp_path / "dl.zip").write_bytes(b"PK nothing")
    with pytest.raises(FileBroken, match=r"dl\.zip"):
        read_all(reader_for("gaia_xp", "xp"), tmp_path / "dl.zip")
