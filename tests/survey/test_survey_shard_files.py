"""Shard files against Zarr, whose place they take on a disk."""

from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest
import zarr
from hypothesis import given, settings
from hypothesis import strategies as st
from zarr.codecs import BloscCodec, Crc32cCodec, GzipCodec

from distcnn.survey.shard_files import ShardFiles

OURS = (BloscCodec(cname="lz4", shuffle="bitshuffle"), Crc32cCodec())


def new_array(folder, shape, *, chunk=4, shard=8, dtype="float32", compressors=OURS, **more):
    """An array as ``create_store`` makes them."""
    fill = np.nan if np.dtype(dtype).kind == "f" else 7
    array = zarr.create_array(
        folder,
        shape=shape,
        dtype=dtype,
        chunks=(chunk, *shape[1:]),
        shards=(shard, *shape[1:]),
        compressors=compressors,
        fill_value=fill,
        **more,
    )
    return array.with_config({"write_empty_chunks": True})


def files_of(folder: Path) -> dict[str, bytes]:
    files = (path for path in (folder / "c").rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


@settings(max_examples=60, deadline=None)
@given(
    stars=st.integers(1, 40),
    width=st.sampled_from([(), (3,), (2, 3)]),
    chunk=st.integers(1, 6),
    chunks=st.integers(1, 4),
    dtype=st.sampled_from(["float32", "float64", "float16", "int16", "uint8", "int64", "uint32"]),
    compressors=st.sampled_from([OURS, (Crc32cCodec(),)]),
    seed=st.integers(0, 99),
    data=st.data(),
)
def test_files_are_those_of_zarr_to_the_byte_and_rows_to_the_bit(
    stars, width, chunk, chunks, dtype, compressors, seed, data
):
    layout = {"chunk": chunk, "shard": chunk * chunks, "dtype": dtype, "compressors": compressors}
    bits = np.random.default_rng(seed).integers(0, 256, (stars, *width, np.dtype(dtype).itemsize))
    values = bits.astype(np.uint8).view(dtype)[..., 0]
    first = data.draw(st.integers(0, (stars - 1) // layout["shard"])) * layout["shard"]
    start = data.draw(st.integers(0, stars - 1))
    stop = data.draw(st.integers(start + 1, stars + 3))
    with TemporaryDirectory() as parent:
        one, other = Path(parent, "zarr"), Path(parent, "ours")
        theirs = new_array(one, values.shape, **layout)
        theirs[first:] = values[first:]  # the shards before are missing
        ours = ShardFiles.of(new_array(other, values.shape, **layout), other)
        ours.write(first, values[first:])
        assert files_of(other) == files_of(one)
        found = ours.read(start, stop)
        assert found.dtype == theirs.dtype
        assert found.tobytes() == theirs[start:stop].tobytes()


@pytest.fixture
def stored(tmp_path):
    values = np.arange(60, dtype=np.float32).reshape(20, 3)
    files = ShardFiles.of(new_array(tmp_path, values.shape), tmp_path)
    files.write(0, values)
    return files, tmp_path / "c" / "1" / "0"


def test_a_file_of_fewer_chunks_is_read_with_the_fill_value(tmp_path):
    array = new_array(tmp_path, (20,))
    array[4:8] = np.arange(4)
    assert np.array_equal(
        ShardFiles.of(array, tmp_path).read(2, 10), [*[np.nan] * 2, *range(4), *[np.nan] * 2], True
    )


def test_any_flipped_byte_and_any_truncation_is_an_error(stored):
    files, path = stored
    whole = path.read_bytes()
    for place in range(len(whole)):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
        with pytest.raises(ValueError, match=r"checksum|bytes"):
            files.read(8, 16)
        path.write_bytes(whole[:place])
        with pytest.raises(ValueError, match=r"checksum|bytes|shorter"):
            files.read(8, 16)
    path.write_bytes(whole)
    assert files.read(8, 16).shape == (8, 3)


def test_a_write_that_fails_leaves_the_old_file_and_no_draft(stored):
    files, path = stored
    whole = path.read_bytes()
    (path.parent / "1").touch()
    path.unlink()
    path.mkdir()
    with pytest.raises(OSError, match="directory"):
        files.write(8, np.zeros((8, 3), np.float32))
    assert sorted(p.name for p in path.parent.iterdir()) == ["0", "1"]
    path.rmdir()
    path.write_bytes(whole)
    assert files.read(8, 16)[0, 0] == 24


@pytest.mark.parametrize(
    "more",
    [
        {"compressors": (GzipCodec(), Crc32cCodec())},
        {"compressors": (BloscCodec(cname="lz4", shuffle="bitshuffle"),)},
        {"chunk_key_encoding": {"name": "v2", "separator": "."}},
    ],
)
def test_another_layout_is_left_to_zarr(tmp_path, more):
    assert ShardFiles.of(new_array(tmp_path, (20, 3), **more), tmp_path) is None


def test_an_array_without_shards_is_left_to_zarr(tmp_path):
    array = zarr.create_array(tmp_path, shape=(20,), dtype="int16", chunks=(4,))
    assert ShardFiles.of(array, tmp_path) is None
