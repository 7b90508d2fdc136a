"""Products of DataLink in every structure and format, zip archives, several TABLEs and HDUs."""

import gzip
import io
import zipfile
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits
from astropy.io.votable import from_table, writeto
from astropy.io.votable.tree import Param, Resource, TableElement, VOTableFile
from astropy.table import Table
from conformance.reader_checks import read_all
from dying_executor import quarantine
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from distcnn.config import FilesConfig, GridConfig, IngestConfig
from distcnn.errors import ColumnMissing, ConfigError, FileBroken
from distcnn.events import Notice
from distcnn.executor import SerialExecutor
from distcnn.ingest import build_survey
from distcnn.ingest.readers import ReadRequest, make_reader
from distcnn.ingest.readers.formats.containers import collecting_notes

PIXELS = 7
WAVELENGTH = 846.0 + 0.01 * np.arange(PIXELS)
STARS = [4295806720, 34361129088, 38655544960]
FORMATS = ("csv", "ecsv", "fits", "xml")


def reader_for(name: str, kind: str = "spectra", **files):
    grid = GridConfig(start=846.0, step=0.01, size=PIXELS)
    request = ReadRequest(kind, grid, ("G",), ("teff",))
    return make_reader(FilesConfig(reader=name, files="*", **files), request)


def flux_of(star: int) -> np.ndarray:
    return (1 + 1e-3 * (star % 97) + 0.01 * np.arange(PIXELS)).astype("f4")


def pixels_of(star: int, with_id: bool) -> Table:
    """One row per pixel; without the column the star stands in the metadata."""
    columns = {"wavelength": WAVELENGTH, "flux": flux_of(star), "flux_error": flux_of(star) / 50}
    own = {
        "source_id": np.full(PIXELS, star),
        "ra": np.full(PIXELS, 10.5),
        "dec": np.full(PIXELS, -5.25),
    }
    table = Table(own | columns if with_id else columns)
    if not with_id:
        table.meta = {"source_id": star, "ra": 10.5, "dec": -5.25}
    return table


def raw_of(stars: list[int]) -> Table:
    flux = np.array([flux_of(star) for star in stars])
    place = np.full((2, len(stars)), [[10.5], [-5.25]])
    names = ("source_id", "ra", "dec", "flux", "flux_error", "combined_transits")
    return Table([stars, *place, flux, flux / 50, np.full(len(stars), 3)], names=names)


def table_element(document: VOTableFile, table: Table) -> TableElement:
    element = from_table(table).get_first_table()
    for name, value in table.meta.items():
        kind = "long" if name == "source_id" else "double"
        param = Param(document, name=name, datatype=kind, value=str(value))
        element.params.append(param)
    return element


def as_votable(tables: list[Table]) -> bytes:
    document = VOTableFile()
    resource = Resource()
    document.resources.append(resource)
    resource.tables.extend(table_element(document, table) for table in tables)
    stream = io.BytesIO()
    writeto(document, stream)
    return stream.getvalue()


def as_fits(tables: list[Table]) -> bytes:
    units = [fits.PrimaryHDU()]
    for table in tables:
        plain = Table(table, copy=True)
        plain.meta = {}
        unit = fits.table_to_hdu(plain)
        if "source_id" in table.meta:  # as the archive writes it
            unit.header["SOURCEID"] = str(table.meta["source_id"])
            unit.header["POS"] = f"({table.meta['ra']}, {table.meta['dec']})"
        units.append(unit)
    stream = io.BytesIO()
    fits.HDUList(units).writeto(stream)
    return stream.getvalue()


def as_text(table: Table, kind: str) -> bytes:
    def text(value) -> str:
        return f'"[{",".join(map(str, value))}]"' if np.ndim(value) else str(value)

    names = table.colnames
    head = ["# %ECSV 1.0", "# ---", "# delimiter: ','", "# datatype:"]
    head += [f"# - {{name: {name}, datatype: float64}}" for name in names]
    head += ["# meta:", *(f"#   {k}: {v}" for k, v in table.meta.items() if k == "source_id")]
    head += (
        [f"#   spatialLocation: [{table.meta['ra']}, {table.meta['dec']}]"] if table.meta else []
    )
    rows = [",".join(map(text, row)) for row in table]
    return "\n".join([*(head if kind == "ecsv" else []), ",".join(names), *rows, ""]).encode()


def product(tables: list[Table], kind: str) -> bytes:
    if kind == "xml":
        return as_votable(tables)
    if kind == "fits":
        return as_fits(tables)
    first, *others = [as_text(table, kind) for table in tables]
    return first + b"".join(other.split(b"\n", 1)[1] for other in others)


def check_stars(block, stars=STARS) -> None:
    assert sorted(block.columns["source_id"].tolist()) == sorted(stars)
    for star, flux in zip(block.columns["source_id"], block.columns["flux"], strict=True):
        np.testing.assert_allclose(flux, flux_of(int(star)), rtol=1e-6)
    np.testing.assert_allclose(block.columns["dec"], -5.25)
    assert block.rejected == ()


@pytest.mark.parametrize("packed", ["no", "gzip", "zip"])
@pytest.mark.parametrize("kind", FORMATS)
@pytest.mark.parametrize("structure", ["individual, own column", "individual", "combined", "raw"])
def test_every_structure_of_datalink_is_read(tmp_path, structure, kind, packed):
    if structure.startswith("individual"):
        tables = {
            f"RVS-Gaia DR3 {star}.{kind}": [pixels_of(star, "own" in structure)] for star in STARS
        }
    elif structure == "combined":
        own = kind not in ("xml", "fits")
        tables = {f"RVS_COMBINED.{kind}": [pixels_of(star, own) for star in STARS]}
    else:
        tables = {f"RVS_RAW.{kind}": [raw_of(STARS)]}
    files = {name: product(several, kind) for name, several in tables.items()}
    if packed == "zip":
        with zipfile.ZipFile(tmp_path / "datalink_output.zip", "w") as archive:
            for name, content in files.items():
                archive.writestr(name, content)
    for name, content in files.items() if packed != "zip" else ():
        path = tmp_path / (f"{name}.gz" if packed == "gzip" else name)
        path.write_bytes(gzip.compress(content) if packed == "gzip" else content)
    reader = reader_for("gaia_rvs_datalink")
    blocks = [read_all(reader, path) for path in sorted(tmp_path.iterdir())]
    columns = {k: np.concatenate([b.columns[k] for b in blocks]) for k in blocks[0].columns}
    if kind == "csv" and structure == "individual":  # the name tells the star, nothing the place
        columns["dec"][:] = -5.25
    check_stars(type(blocks[0])(np.arange(3), columns))


@pytest.mark.parametrize("kind", FORMATS)
def test_raw_products_are_read_by_the_reader_of_bulk_files_too(tmp_path, kind):
    path = tmp_path / f"RVS_RAW.{kind}"
    path.write_bytes(product([raw_of(STARS)], kind))
    check_stars(read_all(reader_for("gaia_rvs"), path))


def test_tables_with_the_star_as_a_field_are_all_read(tmp_path):
    path = tmp_path / "RVS_COMBINED.xml"
    path.write_bytes(as_votable([pixels_of(star, with_id=True) for star in STARS]))
    check_stars(read_all(reader_for("gaia_rvs_datalink"), path))
    only = read_all(reader_for("gaia_rvs_datalink", hdu=2), path)
    assert only.columns["source_id"].tolist() == STARS[1:2]


@pytest.mark.parametrize("name", ["result.csv", "1764173029-result.csv", "spectrum_12.csv"])
def test_a_product_that_tells_no_star_is_refused_not_guessed(tmp_path, name):
    (tmp_path / name).write_bytes(as_text(pixels_of(STARS[0], with_id=False), "csv"))
    with pytest.raises(ColumnMissing, match="'source_id'"):
        read_all(reader_for("gaia_rvs_datalink"), tmp_path / name)


def test_a_star_written_in_the_product_goes_before_the_name_of_the_file(tmp_path):
    path = tmp_path / f"RVS-Gaia DR3 {STARS[1]}.xml"
    path.write_bytes(as_votable([pixels_of(STARS[0], with_id=False)]))
    block = read_all(reader_for("gaia_rvs_datalink"), path)
    assert block.columns["source_id"].tolist() == STARS[:1]


def test_nothing_but_the_own_product_is_taken_of_a_zip_of_several(tmp_path):
    path = tmp_path / "datalink_output_1.zip"
    xp = (
        b"source_id,bp_coefficients,bp_coefficient_errors,rp_coefficients,rp_coefficient_errors,n\n"
    )
    array = '"[' + ",".join(["1.5"] * 55) + ']"'
    xp += f"{STARS[0]},{array},{array},{array},{array},1\n".encode()
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("RVS_RAW.csv", product([raw_of(STARS)], "csv"))
        archive.writestr("XP_CONTINUOUS_RAW.csv", xp)
        archive.writestr("XP_SAMPLED_RAW.csv", b"source_id,flux\n")
        archive.writestr("readme.pdf", b"%PDF")
    for name in ("gaia_rvs", "gaia_rvs_datalink"):
        with collecting_notes() as notes:
            check_stars(read_all(reader_for(name), path))
        told = {note.where for note in notes.unread}
        names = ("XP_CONTINUOUS_RAW.csv", "XP_SAMPLED_RAW.csv", "readme.pdf")
        assert told == {f"{path.name}:{member}" for member in names}
    assert read_all(reader_for("gaia_xp", "xp"), path).columns["source_id"].tolist() == STARS[:1]


def test_members_are_chosen_by_the_setting(tmp_path):
    path = tmp_path / "s.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("night1/blue.csv", product([raw_of(STARS[:1])], "csv"))
        archive.writestr("night1/red.csv", product([raw_of(STARS[1:])], "csv"))
    block = read_all(reader_for("gaia_rvs", members="*red*"), path)
    assert block.columns["source_id"].tolist() == STARS[1:]
    block = read_all(reader_for("gaia_rvs", members=("blue*", "night1/red.csv")), path)
    assert block.columns["source_id"].tolist() == STARS
    with pytest.raises(FileBroken, match=r"\*green\*") as caught:
        read_all(reader_for("gaia_rvs", members="*green*"), path)
    assert "night1/blue.csv" in caught.value.cure


@pytest.mark.parametrize(
    ("name", "kind"), [("table", "spectra"), ("table", "source"), ("table", "labels")]
)
def test_every_member_is_read_once(tmp_path, name, kind):
    path = tmp_path / "s.zip"
    array = '"[' + ",".join(["1.5"] * PIXELS) + ']"'
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for number, star in enumerate(STARS):
            text = f"source_id,flux,G,teff,n\n{star},{array},9.5,5000,1\n"
            text = text if kind == "spectra" else text.replace("flux,", "").replace(f"{array},", "")
            archive.writestr(f"s{number}.csv", text)
    assert read_all(reader_for(name, kind), path).columns["source_id"].tolist() == STARS


def test_parquet_and_gzip_inside_a_zip_are_read(tmp_path):
    table = Table({"source_id": STARS, "G": [1.0, 2.0, 3.0]})
    table.write(tmp_path / "t.parquet")
    with zipfile.ZipFile(tmp_path / "t.zip", "w") as archive:
        archive.write(tmp_path / "t.parquet", "t.parquet")
        archive.writestr("u.csv.gz", gzip.compress(b"source_id,G\n7,4.0\n"))
    block = read_all(reader_for("table", "source"), tmp_path / "t.zip")
    assert block.columns["photometry"][:, 0].tolist() == [1, 2, 3, 4]


def left_overs(archive: zipfile.ZipFile) -> None:
    archive.mkdir("RVS") if hasattr(archive, "mkdir") else archive.writestr("RVS/", b"")
    archive.writestr("__MACOSX/._RVS-Gaia DR3 1.csv", b"\x00\x05\x16\x07Mac OS X")
    archive.writestr("RVS/.RVS_hidden.csv", b"source_id\n")
    archive.writestr("RVS/RVS.csv~", b"source_id\n")


def damaged_zip(path: Path, fault: str) -> None:
    """Three members of a star each; the second has the fault."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        left_overs(archive)
        for star in STARS:
            archive.writestr(f"RVS/RVS-Gaia DR3 {star}.csv", as_text(pixels_of(star, True), "csv"))
    data = bytearray(path.read_bytes())
    with zipfile.ZipFile(path) as archive:
        info = next(i for i in archive.infolist() if str(STARS[1]) in i.filename)
    name = info.filename.encode()
    start = info.header_offset + 30 + len(name)
    central = data.index(name, data.index(b"PK\x01\x02")) - 46
    if fault == "damaged":
        data[start + 20 : start + 40] = b"\xff" * 20
    elif fault == "encrypted":
        data[info.header_offset + 6] |= 1
        data[central + 8] |= 1
    elif fault == "unknown method":
        data[info.header_offset + 8] = data[central + 10] = 97
    else:
        data[central + 16] ^= 1  # its checksum
    path.write_bytes(bytes(data))


@pytest.mark.parametrize("fault", ["damaged", "encrypted", "unknown method", "checksum"])
def test_a_member_of_no_use_is_quarantined_and_the_others_are_read(tmp_path, fault):
    path = tmp_path / "dl.zip"
    damaged_zip(path, fault)
    reader = reader_for("gaia_rvs_datalink")
    with collecting_notes() as notes:
        check_stars(read_all(reader, path), [STARS[0], STARS[2]])
    assert [row.file for row in notes.unusable] == [f"{path}:RVS/RVS-Gaia DR3 {STARS[1]}.csv"]
    assert ("password" in notes.unusable[0].detail) == (fault == "encrypted")
    with pytest.raises(FileBroken, match=str(STARS[1])):  # where nobody listens, it is an error
        read_all(reader, path)


def test_a_zip_of_nothing_usable_is_refused_by_its_first_member(tmp_path):
    path = tmp_path / "dl.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("RVS_1.csv", b"")
        archive.writestr("RVS_2.csv", b"source_id,wavelength,flux,flux_error\n")
    with collecting_notes(), pytest.raises(FileBroken, match=r"RVS_1\.csv") as caught:
        read_all(reader_for("gaia_rvs_datalink"), path)
    assert "1 more members" in caught.value.cure


def test_a_zip_without_tables_says_what_it_holds(tmp_path):
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as archive:
        archive.writestr("thesis.pdf", b"%PDF")
    with pytest.raises(FileBroken, match="no member") as caught:
        read_all(reader_for("gaia_rvs"), tmp_path / "x.zip")
    assert "thesis.pdf" in caught.value.cure


@pytest.mark.parametrize("kind", ["fits", "xml"])
def test_further_tables_are_told_and_can_be_chosen(tmp_path, kind):
    path = tmp_path / f"t.{kind}"
    tables = [Table({"source_id": [n + 1], "G": [float(n)]}) for n in range(3)]
    path.write_bytes(product(tables, kind))
    with collecting_notes() as notes:
        block = read_all(reader_for("table", "source"), path)
    assert block.columns["source_id"].tolist() == [1]
    assert [note.where.split(": ")[1].split()[1] for note in notes.unread] == ["2", "3"]
    assert "hdu" in notes.unread[0].cure
    chosen = read_all(reader_for("table", "source", hdu=3), path)
    assert chosen.columns["source_id"].tolist() == [3]
    with pytest.raises(FileBroken) as caught:
        read_all(reader_for("table", "source", hdu="SPECTRA"), path)
    assert "'hdu'" in caught.value.cure
    assert "_MD5SUM" not in caught.value.cure


NAMES = st.sampled_from(
    ["RVS-Gaia DR3 {}.csv", "a/RVS-Gaia DR3 {}.csv", "__MACOSX/._RVS {}.csv", ".RVS {}.csv",
     "XP_SAMPLED-Gaia DR3 {}.csv", "notes {}.md", "folder {}/"]
)  # fmt: skip


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(NAMES, st.sampled_from(["sound", "empty", "header"])), max_size=6))
def test_whatever_a_zip_holds_every_sound_product_is_read_once(tmp_path, members):
    """Stars of sound members come once; other members are told, quarantined, or left out."""
    path = tmp_path / "dl.zip"
    expected, unusable = [], 0
    with zipfile.ZipFile(path, "w") as archive:
        for number, (name, state) in enumerate(members):
            star = STARS[0] + number
            text = as_text(pixels_of(star, True), "csv")
            text = {"sound": text, "empty": b"", "header": text.split(b"\n")[0] + b"\n"}[state]
            own = name.startswith(("RVS-", "a/RVS-"))
            archive.writestr(name.format(star), b"" if name.endswith("/") else text)
            expected += [star] if own and state == "sound" else []
            unusable += own and state != "sound"
    with collecting_notes() as notes:
        if not expected:
            with pytest.raises(FileBroken):
                read_all(reader_for("gaia_rvs_datalink"), path)
            return
        block = read_all(reader_for("gaia_rvs_datalink"), path)
    check_stars(block, expected)
    assert len(notes.unusable) == unusable
    files = [name for name, _ in members if not name.endswith("/")]
    assert len(notes.unread) == len(files) - len(expected) - unusable


STATUS = b'<RESOURCE type="results"><INFO name="QUERY_STATUS" value="%s">%s</INFO>'


def test_what_a_service_says_of_a_query_is_told(tmp_path):
    whole = as_votable([Table({"source_id": [1], "G": [2.0]})])
    begin = whole[: whole.index(b"<RESOURCE")]
    path = tmp_path / "result.vot"
    rest = whole[whole.index(b"<TABLE") :]
    path.write_bytes(begin + STATUS % (b"OVERFLOW", b"") + rest)
    with collecting_notes() as notes:
        assert len(read_all(reader_for("table", "source"), path)) == 1
    assert "limit of rows" in notes.unread[0].what
    path.write_bytes(begin + STATUS % (b"ERROR", b"no such table") + b"</RESOURCE></VOTABLE>")
    with pytest.raises(FileBroken) as caught:
        read_all(reader_for("table", "source"), path)
    assert "no such table" in caught.value.cure


def test_a_star_of_a_combined_product_may_have_no_rows(tmp_path):
    path = tmp_path / "RVS_COMBINED.xml"
    tables = [pixels_of(star, with_id=False) for star in STARS]
    for order in ([0, 1, 2], [1, 0, 2]):
        empty = Table(tables[0][:0], meta=tables[0].meta)
        several = [empty if n == 0 else tables[n] for n in order]
        path.write_bytes(as_votable(several))
        check_stars(read_all(reader_for("gaia_rvs_datalink"), path), STARS[1:])


def test_text_that_never_ends_its_first_line_is_no_table(tmp_path, monkeypatch):
    monkeypatch.setattr("distcnn.ingest.readers.formats.text.table.MAX_LINE_BYTES", 1000)
    (tmp_path / "bomb.csv.gz").write_bytes(gzip.compress(bytes(5000)))
    with pytest.raises(FileBroken, match="a line is longer than"):
        read_all(reader_for("gaia_rvs"), tmp_path / "bomb.csv.gz")


def test_a_survey_of_zips_lists_members_of_no_use_and_tells_what_it_did_not_read(tmp_path):
    folder = tmp_path / "archive"
    folder.mkdir()
    damaged_zip(folder / "dl.zip", "damaged")
    config = IngestConfig(
        spectra=FilesConfig(reader="gaia_rvs_datalink", files="*.zip"),
        source=None,
        source_required=False,
        xp=None,
        labels=None,
        grid=GridConfig(start=846.0, step=0.01, size=PIXELS),
    )
    events: list = []
    summary = build_survey(
        folder, tmp_path / "s.zarr", config, executor=SerialExecutor(), listener=events.append
    )
    assert (summary.stars, summary.unusable_files) == (2, 1)
    listed = quarantine(tmp_path / "s.zarr")
    assert listed["file"].tolist() == [f"dl.zip:RVS/RVS-Gaia DR3 {STARS[1]}.csv"]
    told = " ".join(event.text for event in events if isinstance(event, Notice))
    assert "Not read: 3 members of zip archives" in told
    assert "__MACOSX" in told


def test_members_are_not_chosen_where_there_is_no_zip(tmp_path):
    (tmp_path / "RVS_1.csv").write_bytes(as_text(pixels_of(STARS[0], True), "csv"))
    files = FilesConfig(reader="gaia_rvs_datalink", files="*.csv", members="*RVS*")
    config = IngestConfig(
        spectra=files, source=None, xp=None, labels=None, grid=GridConfig(start=1, step=1, size=7)
    )
    with pytest.raises(ConfigError, match=r"ingest\.spectra\.members"):
        build_survey(tmp_path, tmp_path / "s.zarr", config, executor=SerialExecutor())


def test_what_one_kind_leaves_and_another_reads_is_not_told_as_unread(tmp_path):
    folder = tmp_path / "archive"
    folder.mkdir()
    spectra = Table({"source_id": STARS, "flux": np.array([flux_of(star) for star in STARS])})
    source = Table({"source_id": STARS, "G": [1.0, 2.0, 3.0]})
    labels = Table({"source_id": STARS, "teff": [5000.0, 4000.0, 6000.0]})
    other = Table({"source_id": STARS, "note": [1, 2, 3]})
    (folder / "all.fits").write_bytes(as_fits([spectra, source, labels, other]))
    files = {"reader": "table", "files": "all.fits"}
    config = IngestConfig(
        spectra=files,
        source={**files, "hdu": 2},
        labels={**files, "hdu": 3, "labels": ["teff"]},
        xp=None,
        bands=["G"],
        grid=GridConfig(start=846.0, step=0.01, size=PIXELS),
    )
    events: list = []
    build_survey(
        folder, tmp_path / "s.zarr", config, executor=SerialExecutor(), listener=events.append
    )
    told = [event.text for event in events if isinstance(event, Notice) and "Not" in event.text]
    assert told == [
        "Not read: 1 further tables of FITS files (all.fits: HDU 4); choose with 'hdu'."
    ]
