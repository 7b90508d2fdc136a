"""Conformance kit of readers: a reader is finished when its ``class TestX(ReaderChecks)`` passes.

A subclass gives three fixtures: ``reader``, ``good`` (a file in its format, of five rows or more
unless the format holds a single star) and ``stars`` (the source_id of its rows in order).
Readers of spectra derive from ``SpectraReaderChecks``.
"""

import gzip
from pathlib import Path

import numpy as np
import pytest

from distcnn.errors import FileBroken, InputError
from distcnn.ingest.readers import READERS, Block, Reader, SpectraReader

PLAIN_TEXT = {".csv", ".ecsv"}


def read_all(reader: Reader, path: Path, rows: int = 1000, ids: np.ndarray | None = None) -> Block:
    """All blocks of a file as one."""
    blocks = list(reader.blocks(path, rows=rows, ids=ids))
    columns = {
        name: np.concatenate([block.columns[name] for block in blocks])
        for name in (blocks[0].columns if blocks else ())
    }
    rejected = tuple(row for block in blocks for row in block.rejected)
    numbers = [block.rows for block in blocks]
    return Block(np.concatenate(numbers) if numbers else np.empty(0, int), columns, rejected)


class ReaderChecks:
    """What every reader does."""

    def test_every_row_comes_once_in_the_order_of_the_file(self, reader, good, stars):
        block = read_all(reader, good)
        assert block.columns["source_id"].tolist() == list(stars)
        assert (np.diff(block.rows) > 0).all()
        assert block.rows[0] >= 1
        assert block.rejected == ()

    def test_it_stands_in_the_registry_under_the_name_of_its_module(self, reader):
        inner = getattr(reader, "reader", reader)  # below the cleaning that all share
        name = type(inner).__module__.rpartition(".")[2]
        assert READERS[name].implementation == type(inner).__name__
        assert READERS[name].sentence

    def test_columns_have_one_entry_per_row(self, reader, good):
        for block in reader.blocks(good, rows=3):
            assert {len(values) for values in block.columns.values()} == {len(block)}
            assert block.columns["source_id"].dtype == np.int64

    def test_no_block_is_larger_than_asked(self, reader, good, stars):
        sizes = [len(block) for block in reader.blocks(good, rows=2)]
        assert max(sizes) <= 2
        assert sum(sizes) == len(stars)

    def test_the_size_of_blocks_changes_nothing(self, reader, good):
        small, large = read_all(reader, good, rows=2), read_all(reader, good, rows=1000)
        np.testing.assert_array_equal(small.rows, large.rows)
        for name, values in large.columns.items():
            np.testing.assert_array_equal(small.columns[name], values)

    def test_only_the_stars_asked_for_come(self, reader, good, stars):
        ids = np.sort(np.array(stars)[1:4:2] if len(stars) > 1 else np.array(stars))
        block = read_all(reader, good, ids=ids)
        assert block.columns["source_id"].tolist() == [star for star in stars if star in ids]

    def test_stars_that_are_not_there_do_not_come(self, reader, good):
        blocks = reader.blocks(good, rows=10, ids=np.array([2], np.int64))
        assert sum(len(block) for block in blocks) == 0

    def test_the_file_is_left_as_it_was(self, reader, good):
        before = good.read_bytes()
        read_all(reader, good)
        assert good.read_bytes() == before

    def test_an_empty_file_is_named(self, reader, good, tmp_path):
        empty = tmp_path / good.name
        empty.write_bytes(b"")
        with pytest.raises(FileBroken, match=good.name) as caught:
            read_all(reader, empty)
        assert caught.value.cure

    def test_a_file_that_is_not_there_is_named(self, reader, good, tmp_path):
        missing = tmp_path / f"no_{good.name}"
        with pytest.raises(FileBroken, match=missing.name):
            read_all(reader, missing)

    def test_a_truncated_file_is_never_taken_for_a_whole_one(self, reader, good, tmp_path, stars):
        cut = tmp_path / good.name
        data = good.read_bytes()
        cut.write_bytes(data[: int(len(data) * 0.7)])
        if (
            good.suffix in PLAIN_TEXT
        ):  # cannot tell that whole lines are missing, half a line it can
            block = read_all(reader, cut)
            assert len(block.rejected) == 1
            assert len(block) + 1 < len(stars)
            return
        with pytest.raises(InputError, match=good.name) as caught:
            read_all(reader, cut)
        assert caught.value.cure

    def test_noise_instead_of_a_file_is_named(self, reader, good, tmp_path):
        noise = tmp_path / good.name
        content = bytes(np.random.default_rng(1).integers(0, 256, 5000, dtype=np.uint8))
        noise.write_bytes(gzip.compress(content) if good.suffix == ".gz" else content)
        with pytest.raises(InputError, match=good.name) as caught:
            read_all(reader, noise)
        assert caught.value.cure


class SpectraReaderChecks(ReaderChecks):
    """What every reader of spectra does besides."""

    def test_flux_and_its_error_stand_on_the_grid_of_the_file(self, reader, good):
        assert isinstance(reader, SpectraReader)
        grid = reader.wavelength(good)
        assert (np.diff(grid) > 0).all()
        for block in reader.blocks(good, rows=3):
            for name in {"flux", "flux_error", "wavelength"} & set(block.columns):
                assert block.columns[name].shape == (len(block), len(grid)), name
            assert block.columns["flux"].dtype.kind == "f"
