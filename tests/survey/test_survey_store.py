import errno
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import xarray
import zarr
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from distcnn.errors import RegionError, StoreCorrupt, StoreError
from distcnn.schema import SURVEY_VARIABLES
from distcnn.survey import Coordinate, Layout, Quantised, Region, Store, create_store
from distcnn.survey.shard_files import ShardFiles

NAMES = ("source_id", "flux", "flux_error", "mask", "snr", "label")
LABELS = np.array(["teff", "logg"])


def layout(stars=20, shard=8, chunk=4, pixels=6):
    return Layout(
        kind="survey",
        sizes={"star": stars, "pixel": pixels, "label": 2},
        chunk_stars=chunk,
        shard_stars=shard,
        variables=tuple(SURVEY_VARIABLES[name] for name in NAMES),
        coordinates={
            "wavelength": Coordinate("pixel", np.linspace(846, 870, pixels), {"units": "nm"}),
            "label": Coordinate("label", LABELS),
        },
        attrs={"survey": "test", "labels": ["teff", "logg"]},
        quantised={"flux": Quantised(1e-4, 1.0)},
    )


def rows(rng, n, pixels=6):
    flux = rng.normal(1, 0.05, (n, pixels)).astype("f4")
    flux[0, 0] = np.nan
    return {
        "source_id": rng.integers(1, 2**62, n),
        "flux": flux,
        "flux_error": np.full((n, pixels), 0.05, "f4"),
        "mask": np.isnan(flux).astype("u1"),
        "snr": rng.uniform(15, 200, n).astype("f4"),
        "label": rng.normal(0, 1, (n, 2)).astype("f4"),
    }


@pytest.fixture
def filled(tmp_path, rng):
    store = create_store(tmp_path / "survey.zarr", layout())
    digests = {r: store.write(r, rows(rng, r.size)) for r in store.regions()}
    store.annotate({"complete": True})
    return store, digests


def test_what_is_written_is_read_back_within_half_a_step(tmp_path, rng):
    store = create_store(tmp_path / "s.zarr", layout())
    arrays = rows(rng, 8)
    store.write(Region(0, 8), arrays)
    back = Store.open(tmp_path / "s.zarr", "survey").read(Region(0, 8))
    assert np.array_equal(back["source_id"], arrays["source_id"])
    assert np.array_equal(np.isnan(back["flux"]), np.isnan(arrays["flux"]))
    assert np.nanmax(np.abs(back["flux"] - arrays["flux"])) <= 0.51e-4
    assert back["flux"].dtype == back["flux_error"].dtype == np.float32


@settings(max_examples=50)
@given(
    values=hnp.arrays("f4", 20, elements=st.floats(-5, 7, width=32) | st.just(np.float32("nan"))),
    step=st.sampled_from([1e-4, 5e-4, 1e-3]),
)
def test_quantised_values_are_within_half_a_step_or_missing(values, step):
    coding = Quantised(step, 1.0)
    low, high = coding.range
    back = coding.decode(coding.encode(values))
    inside = (values > low + step) & (values < high - step)
    assert np.all(np.abs(back[inside] - values[inside]) <= 0.51 * step + 1e-6)
    assert np.all(np.isnan(back[np.isnan(values)]))
    assert np.all(np.isnan(back[(values < low - step) | (values > high + step)]))


def test_the_digest_of_the_store_is_the_digest_of_the_write(filled):
    store, digests = filled
    fresh = Store.open(store.path)
    assert {r: fresh.digest(r) for r in fresh.regions()} == digests


def test_xarray_opens_a_store_with_units_names_and_missing_values(filled):
    store, _ = filled
    with xarray.open_zarr(store.path) as data:
        assert list(data.label_name.values) == ["teff", "logg"]
        assert set(data.coords) == {"wavelength", "label_name", "source_id"}
        assert data.wavelength.attrs["units"] == "nm"
        values = store.read(Region(0, 8), ["flux"])["flux"]
        assert np.allclose(data.flux[:8], values, equal_nan=True, atol=1e-6)
        assert np.isnan(data.flux[0, 0])
        teff = data.label.sel(label_name="teff")
        assert np.allclose(teff[:8], store.read(Region(0, 8), ["label"])["label"][:, 0])


def test_every_chunk_has_a_crc32c(filled):
    group = zarr.open_group(filled[0].path, mode="r")
    for name in NAMES:
        text = str(group[name].metadata.to_dict()["codecs"])
        assert text.count("crc32c") == 2, name


@pytest.mark.parametrize("name", NAMES)
def test_a_flipped_byte_is_found(filled, name):
    store, digests = filled
    file = next(f for f in sorted((store.path / name).rglob("*")) if f.is_file() and "c" in f.parts)
    data = bytearray(file.read_bytes())
    data[len(data) // 3] ^= 0x40
    file.write_bytes(bytes(data))
    with pytest.raises(StoreCorrupt, match=f"{name} of region"):
        _ = [store.digest(region) for region in digests]


def test_a_missing_shard_of_a_finished_store_is_an_error_not_missing_values(filled):
    store, _ = filled
    (store.path / "snr" / "c" / "1").unlink()
    with pytest.raises(StoreCorrupt, match="is missing"):
        Store.open(store.path).read(Region(8, 16))


def test_part_of_a_shard_cannot_be_written(filled, rng):
    with pytest.raises(RegionError, match="a multiple of 8"):
        filled[0].write(Region(0, 4), rows(rng, 4))


def test_a_wrong_shape_or_a_missing_variable_is_refused(filled, rng):
    arrays = rows(rng, 8)
    with pytest.raises(StoreError, match=r"\(8, 6\)"):
        filled[0].write(Region(0, 8), arrays | {"flux": arrays["flux"][:, :3]})
    del arrays["snr"]
    with pytest.raises(StoreError, match="snr"):
        filled[0].write(Region(0, 8), arrays)


def test_a_store_is_never_overwritten(filled):
    with pytest.raises(StoreError, match="exists"):
        create_store(filled[0].path, layout())


def test_a_path_that_is_no_store_is_told_so(tmp_path):
    (tmp_path / "x.zarr").mkdir()
    with pytest.raises(StoreError, match="not a store of distcnn"):
        Store.open(tmp_path / "x.zarr")
    with pytest.raises(StoreError, match="not a store of distcnn"):
        Store.open(tmp_path / "absent.zarr")


def test_attributes_are_replaced_all_at_once_or_not_at_all(filled, monkeypatch):
    store, _ = filled

    def die(self, target):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", die)
        with pytest.raises(StoreError, match="cannot be annotated"):
            store.annotate({"complete": False})
    assert Store.open(store.path).attrs["complete"] is True
    store.annotate({"complete": False})
    assert Store.open(store.path).attrs["complete"] is False
    with xarray.open_zarr(store.path, consolidated=True) as data:
        assert data.attrs["complete"] is False


def test_another_kind_or_format_is_refused(filled):
    store, _ = filled
    with pytest.raises(StoreError, match="a prediction store"):
        Store.open(store.path, "predictions")
    store.annotate({"format": 99})
    with pytest.raises(StoreError, match="format 99"):
        Store.open(store.path)


def test_unknown_variables_and_coordinates_are_named(filled):
    with pytest.raises(StoreError, match="no variable 'fluks'"):
        filled[0].read(Region(0, 8), ["fluks"])
    with pytest.raises(StoreError, match="no coordinate 'pixels'"):
        filled[0].coordinate("pixels")


def test_shards_must_hold_whole_chunks():
    with pytest.raises(StoreError, match="a multiple of chunk_stars"):
        layout(shard=6, chunk=4)


def test_sizes_and_units_are_told(filled):
    store, _ = filled
    assert (store.stars, store.shard_stars, store.chunk_stars) == (20, 8, 4)
    assert store.shape("flux") == (20, 6)
    assert store.units("snr") == ""
    assert store.coordinate_attrs("wavelength") == {"units": "nm"}


def test_the_identity_of_a_store_is_that_of_a_copy_elsewhere_and_follows_what_decides(filled):
    path = filled[0].path
    copy = path.with_name("moved.zarr")
    shutil.copytree(path, copy)
    assert Store.open(copy).identity == Store.open(path).identity
    Store.open(copy).annotate({"path": "elsewhere"})
    assert Store.open(copy).identity == Store.open(path).identity
    Store.open(copy).annotate({"fingerprint": "another"})
    assert Store.open(copy).identity != Store.open(path).identity


def test_a_full_disk_is_a_clear_error(filled, rng, monkeypatch):
    store, _ = filled

    def full(*_args, **_kwargs):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(ShardFiles, "write", full)
    with pytest.raises(StoreError, match=r"No space left.*Free space"):
        store.write(Region(0, 8), rows(rng, 8))


def test_a_store_that_cannot_be_made_leaves_nothing(tmp_path):
    (tmp_path / "no").write_text("a file where a folder should be")
    with pytest.raises(StoreError, match="cannot be written"):
        create_store(tmp_path / "no" / "s.zarr", layout())
    assert [p.name for p in tmp_path.iterdir()] == ["no"]


def test_the_store_room_needs_no_torch():
    code = "import sys, distcnn.survey; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
