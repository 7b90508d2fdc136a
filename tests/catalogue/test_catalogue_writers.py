"""The writers pass the kit, and follow the conventions of their format."""

import json
import re
import sys
import warnings
from itertools import pairwise
from typing import ClassVar

import numpy as np
import parquet_folder
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from astropy.io import fits
from astropy.io.votable import parse
from astropy.io.votable.ucd import check_ucd
from astropy.table import Table, vstack
from astropy.units import UnitsWarning
from conformance.writer_checks import WriterChecks, contents
from simple_predictions import make_predictions

from distcnn.catalogue import columns, export
from distcnn.catalogue.columns import pairs
from distcnn.catalogue.writers import WRITERS
from distcnn.errors import UsageError
from distcnn.model.networks.covariance import pair_names
from distcnn.schema import LABELS, Flag
from distcnn.survey import Region

BYTES = r"^ *(?:\d+)- *(?:\d+)"


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return make_predictions(tmp_path_factory.mktemp("store") / "predictions.zarr")


@pytest.fixture(scope="module")
def stored(store):
    return store.read(Region(0, store.stars))


class TestFits(WriterChecks):
    suffix = ".fits"

    def test_the_file_obeys_the_standard(self, path):
        with fits.open(path) as file:
            file.verify("exception")
            assert file["CATALOGUE"].data["teff"].shape == (300,)
        assert path.stat().st_size % 2880 == 0

    def test_topcat_finds_units_ucds_and_sentences(self, path, labels):
        header = fits.getheader(path, 1)
        for number, column in enumerate(columns(labels), start=1):
            assert header[f"TTYPE{number}"] == column.name
            assert header[f"TUCD{number}"] == column.ucd
            assert header[f"TCOMM{number}"] == column.description or column.name == "snr"
            assert header.get(f"TUNIT{number}", "") == column.unit

    def test_the_header_names_origin_and_bits(self, path):
        header = fits.getheader(path, 1)
        assert (header["SURVEY"], header["RELEASE"]) == ("gaia_rvs", "DR3")
        comments = " ".join(header["COMMENT"])
        for flag in Flag:
            assert f"flags & {int(flag)}: {flag.name}:" in comments


class TestParquet(WriterChecks):
    suffix = ".parquet"

    def test_fields_carry_unit_ucd_and_sentence(self, path, labels):
        schema = pq.read_schema(path)
        for column in columns(labels):
            meaning = schema.field(column.name).metadata
            assert meaning[b"unit"].decode() == column.unit
            assert meaning[b"ucd"].decode() == column.ucd
            assert meaning[b"description"].decode() == column.description or column.name == "snr"

    def test_the_file_names_origin_and_bits(self, path):
        metadata = pq.read_schema(path).metadata
        assert metadata[b"SURVEY"] == b"gaia_rvs"
        assert json.loads(metadata[b"flags"])["NO_XP"]["bit"] == int(Flag.NO_XP)
        assert b"<VOTABLE" in metadata[b"IVOA.VOTable-Parquet.content"]

    def test_row_groups_are_small(self, path):
        file = pq.ParquetFile(path)
        sizes = [file.metadata.row_group(i).num_rows for i in range(file.num_row_groups)]
        assert sum(sizes) == 300
        assert max(sizes) <= 100_000


class TestVOTable(WriterChecks):
    suffix = ".vot"

    def test_the_file_is_valid_and_binary(self, path):
        document = parse(path, verify="exception")
        table = document.get_first_table()
        assert "<BINARY2>" in path.read_text()
        assert table.nrows == 300

    def test_fields_and_parameters_carry_their_meaning(self, path, labels):
        table = parse(path).get_first_table()
        for field, column in zip(table.fields, columns(labels), strict=True):
            assert (field.name, field.ucd) == (column.name, column.ucd)
            assert field.description == column.description or column.name == "snr"
        parameters = {parameter.name: parameter for parameter in table.params}
        assert parameters["SURVEY"].value == "gaia_rvs"
        assert parameters["FLAG_NO_XP"].value == int(Flag.NO_XP)
        assert parameters["FLAG_NO_XP"].description


class TestCds(WriterChecks):
    suffix = ".cds"
    types: ClassVar = {"E15.8": "f4", "E24.16": "f8", "I6": "i2", "I11": "i4", "I20": "i8"}

    def read(self, path):
        """As astropy reads it; bytes of ASCII have no types, their formats in the ReadMe say."""
        readme = path / "ReadMe"
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UnitsWarning)  # dex
            table = Table.read(path / "catalogue.dat", readme=str(readme), format="ascii.cds")
        for form, name in re.findall(rf"{BYTES} +(\S+) +\S+ +(\S+)", readme.read_text(), re.M):
            if form in self.types:
                table[name] = table[name].astype(self.types[form])
        return table

    def test_no_line_of_the_readme_is_too_long_and_every_byte_is_described(self, path):
        lines = (path / "ReadMe").read_text(encoding="ascii").splitlines()
        assert max(map(len, lines)) <= 80
        found = (re.match(r" *(\d+)- *(\d+) ", line) for line in lines)
        ends = [(int(one[1]), int(one[2])) for one in found if one]
        assert ends[0][0] == 1
        assert all(start == end + 2 for (_, end), (start, _) in pairwise(ends))
        rows = (path / "catalogue.dat").read_bytes().splitlines()
        assert {len(row) for row in rows} == {ends[-1][1]}
        assert len(rows) == 300


class TestHats(WriterChecks):
    suffix = ".hats"

    @pytest.fixture(autouse=True)
    def _there(self):
        pytest.importorskip("hats", reason="the library hats is not installed")

    def read(self, path):
        """All partitions, in the order of the survey, which is that of the identifiers here."""
        files = sorted((path / "dataset").rglob("*.parquet"))
        rows = pa.concat_tables([pq.ParquetFile(file).read() for file in files])
        rows = rows.sort_by("source_id")
        arrays = {name: rows[name].to_numpy() for name in rows.column_names[1:]}
        table = Table({n: a.astype(str) if a.dtype == object else a for n, a in arrays.items()})
        for field in rows.schema:
            if field.name in table.colnames:
                about = {key.decode(): text.decode() for key, text in field.metadata.items()}
                table[field.name].unit = about["unit"] or None
                table[field.name].description = about["description"]
        return table


class TestFolder(WriterChecks):
    suffix = ".parts"

    @pytest.fixture(autouse=True)
    def _known(self, monkeypatch):
        monkeypatch.setitem(sys.modules, "distcnn.catalogue.writers.parquet_folder", parquet_folder)
        entries = (*WRITERS, parquet_folder.ENTRY)
        monkeypatch.setattr("distcnn.catalogue.writers.registry.WRITERS", entries)

    def read(self, path):
        return vstack([super(TestFolder, self).read(part) for part in sorted(path.iterdir())])

    def test_a_folder_that_is_no_catalogue_is_left_alone(self, store, tmp_path):
        target = tmp_path / "thesis.parts"
        target.mkdir()
        (target / "thesis.tex").write_text("dear")
        with pytest.raises(UsageError, match="no parquet_folder catalogue") as caught:
            export(store.path, target)
        assert "nothing was removed" in caught.value.cure
        assert contents(target) == {"thesis.tex": b"dear"}


def test_every_writer_of_the_registry_is_a_module_with_both_functions():
    for entry in WRITERS:
        writer = entry.load()
        assert callable(writer.write)
        assert callable(writer.read_header)
    suffixes = [suffix for entry in WRITERS for suffix in entry.suffixes]
    assert len(set(suffixes)) == len(suffixes)


def test_every_ucd_is_in_the_controlled_vocabulary():
    for column in columns(list(LABELS)):
        assert check_ucd(column.ucd, check_controlled_vocabulary=True, has_colon=True), column


def test_pairs_are_those_of_the_network_in_its_order():
    labels = tuple(LABELS)
    assert tuple("_".join(pair) for pair in pairs(labels)) == pair_names(labels)


@pytest.mark.parametrize("suffix", [".fits", ".parquet", ".vot"])
def test_a_single_label_has_no_correlations(tmp_path, suffix):
    store = make_predictions(tmp_path / "p.zarr", 40, ("teff",), limits=None)
    assert export(store.path, tmp_path / f"c{suffix}") == 40
    names = [column.name for column in columns(("teff",))]
    assert {"teff_error_low", "teff_error_high", "teff_debiased", "eteff"} <= set(names)
    assert not [name for name in names if name.endswith("_corr")]


@pytest.mark.parametrize("suffix", [".fits", ".parquet", ".vot"])
def test_any_set_of_labels_can_be_exported(tmp_path, suffix):
    store = make_predictions(tmp_path / "p.zarr", 40, ("teff", "ali"), limits=None)
    target = tmp_path / f"c{suffix}"
    assert export(store.path, target) == 40
    names = [column.name for column in columns(("teff", "ali"))]
    assert {"ali", "ali_error", "eteff"} <= set(names)
    assert not {"eali", "logg", "elogg"} & set(names)


def test_more_stars_than_one_block_are_all_written(tmp_path, monkeypatch):
    store = make_predictions(tmp_path / "p.zarr", 1000, ("teff", "logg"), limits=None)
    monkeypatch.setattr("distcnn.catalogue.table.BLOCK_ROWS", 130)
    export(store.path, tmp_path / "c.parquet")
    file = pq.ParquetFile(tmp_path / "c.parquet")
    assert file.num_row_groups == 8
    ids = file.read(["source_id"])["source_id"].to_numpy()
    np.testing.assert_array_equal(ids, store.read(Region(0, 1000), ["source_id"])["source_id"])
    export(store.path, tmp_path / "c.vot")
    table = parse(tmp_path / "c.vot").get_first_table()
    np.testing.assert_array_equal(table.array["source_id"].data, ids)
