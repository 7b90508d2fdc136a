"""Conformance kit of catalogue writers: a writer is finished when these pass.

A subclass gives ``suffix``, and the fixtures ``store`` (finished predictions with labels teff
and more) and ``stored`` (its arrays); and ``read``, if astropy does not read the format. A
catalogue may be a file or a folder.
"""

import re
import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from astropy.table import MaskedColumn, Table
from astropy.units import UnitsWarning

from distcnn.catalogue import catalogue_table, columns, describe, export, is_catalogue
from distcnn.catalogue.writers import entry_of
from distcnn.errors import UsageError
from distcnn.schema import Recommendation, Status

PARTS = (
    "error",
    "error_low",
    "error_high",
    "noise",
    "scatter",
    "debiased",
    "debiased_error",
)


def contents(path: Path) -> dict[str, bytes]:
    """The bytes of a catalogue: of the file, or of every file of the folder."""
    files = [path] if path.is_file() else sorted(f for f in path.rglob("*") if f.is_file())
    return {str(file.relative_to(path)): file.read_bytes() for file in files}


def plain(column) -> np.ndarray:
    """Values with NaN where a reader masks them, text as str."""
    floats = column.dtype.kind == "f" and isinstance(column, MaskedColumn)
    values = np.asarray(column.filled(np.nan) if floats else column)
    return values.astype(str) if values.dtype.kind in "SUO" else values


class WriterChecks:
    """What every writer does."""

    suffix: str

    def read(self, path: Path) -> Table:
        """The catalogue as astropy reads it; dex is not a FITS unit, and astropy says so."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UnitsWarning)
            return Table.read(path)

    @pytest.fixture
    def path(self, store, tmp_path):
        target = tmp_path / "out" / f"catalogue{self.suffix}"
        assert export(store.path, target) == store.stars
        return target

    @pytest.fixture
    def table(self, path):
        return self.read(path)

    @pytest.fixture
    def labels(self, store):
        return list(map(str, store.coordinate("label")))

    def test_every_column_of_the_table_of_columns_is_there_in_order(self, table, labels):
        assert table.colnames == [column.name for column in columns(labels)]

    def test_every_star_comes_once_in_order(self, table, stored):
        np.testing.assert_array_equal(plain(table["source_id"]), stored["source_id"])

    def test_values_are_those_of_the_store_bit_for_bit(self, table, stored, labels):
        for name in ("ra", "dec", "snr", "parallax", "novelty", "flags", "status"):
            np.testing.assert_array_equal(plain(table[name]), stored[name])
        for number, label in enumerate(labels):
            np.testing.assert_array_equal(plain(table[label]), stored["label"][:, number])
            for part in PARTS:
                found = plain(table[f"{label}_{part}"])
                np.testing.assert_array_equal(found, stored[f"label_{part}"][:, number])

    def test_correlations_stand_under_the_names_of_their_two_labels(self, table, store, stored):
        for number, pair in enumerate(map(str, store.coordinate("pair"))):
            found = plain(table[f"{pair}_corr"])
            np.testing.assert_array_equal(found, stored["label_correlation"][:, number])

    def test_a_star_that_failed_has_no_number_about_its_labels(self, table, labels):
        failed = plain(table["status"]) == Status.FAILED
        assert failed.any()
        ours = tuple(f"{label}_" for label in labels)
        for name in (n for n in table.colnames if n in labels or n.startswith(ours)):
            values = plain(table[name])[failed]
            if name.endswith("_recommendation"):
                assert (values == Recommendation.AVOID).all(), name
            else:
                assert np.isnan(values).all(), name

    def test_numbers_keep_their_types(self, table, store):
        for column in catalogue_table(store).columns:
            kind = table[column.name].dtype
            assert (
                kind.kind in "SU"
                if column.dtype == "S8"
                else kind.newbyteorder("=") == column.dtype
            )

    def test_published_names_stand_beside_ours(self, table, labels):
        for label in set(labels) & {"teff", "logg", "mh", "feh", "alpham"}:
            np.testing.assert_array_equal(plain(table[f"e{label}"]), plain(table[f"{label}_error"]))
        assert {len(text) for text in plain(table["flag_boundary"])} == {8}

    def test_every_column_has_its_unit_and_sentence(self, table, labels):
        for column in columns(labels):
            unit = table[column.name].unit
            assert ("" if unit is None else unit.to_string()) == column.unit
            # Per what S/N is says the store.
            assert table[column.name].description == column.description or column.name == "snr"

    def test_the_format_says_where_it_comes_from(self, path):
        text = b"".join(contents(path).values())
        assert b"a" * 64 in text, "digest of the package"
        assert b"b" * 64 in text, "digest of the survey"
        for known in (b"distcnn 0.0.test", b"DR3", b"MEMBERS_DISAGREE"):
            assert known in text

    def test_a_catalogue_is_told_from_other_things_and_described_from_its_header(
        self, path, store, labels
    ):
        assert is_catalogue(path)
        assert not is_catalogue(path.parent)
        text = describe(path)
        assert f"{store.stars:,} stars" in text
        for known in ("distcnn 0.0.test", "gaia_rvs", "DR3", "a" * 64):
            assert known in text
        for column in (column for column in columns(labels) if column.name != "snr"):
            assert re.search(rf"^  {column.name} .*{re.escape(column.description)}$", text, re.M)

    def test_a_catalogue_that_exists_is_replaced_whole(self, store, path):
        before = contents(path)
        if path.is_file():
            path.write_bytes(b"old")
        else:
            (path / "left.over").write_bytes(b"old")
        export(store.path, path)
        assert contents(path) == before
        assert [found.name for found in path.parent.iterdir()] == [path.name]

    def test_what_has_another_layout_is_not_replaced(self, store, path, tmp_path):
        other = tmp_path / f"other{self.suffix}"
        if path.is_file():
            other.mkdir()
        else:
            other.write_bytes(b"dear")
        with pytest.raises(UsageError, match="is a f"):
            export(store.path, other)
        assert other.exists()

    def test_rows_are_asked_for_block_by_block_and_not_kept(self, store, tmp_path):
        table = catalogue_table(store)
        asked = []

        def blocks():
            for start in range(0, table.rows, 50):
                block = next(table.blocks())[start : start + 50]
                asked.append(start)
                yield block

        target = tmp_path / f"small{self.suffix}"
        entry = entry_of(target)
        if entry.layout == "folder":
            target.mkdir()
        assert entry.load().write(target, replace(table, blocks=blocks)) == table.rows
        assert len(asked) == -(-table.rows // 50)
        export(store.path, tmp_path / f"whole{self.suffix}")
        small, whole = self.read(target), self.read(tmp_path / f"whole{self.suffix}")
        assert small.colnames == whole.colnames
        np.testing.assert_array_equal(plain(small["teff"]), plain(whole["teff"]))

    def test_a_disk_that_refuses_leaves_the_old_catalogue(self, store, path, monkeypatch):
        before = contents(path)
        writer = entry_of(path).load()
        write = writer.write

        def half(target, table):
            write(target, table)
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(writer, "write", half)
        with pytest.raises(Exception, match="No space left on device"):
            export(store.path, path)
        assert contents(path) == before
        assert [found.name for found in path.parent.iterdir()] == [path.name]
