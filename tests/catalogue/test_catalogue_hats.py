"""HATS catalogues: partitions, the same bytes from any number of workers, resumed, read by LSDB."""

from collections import Counter
from itertools import pairwise

import numpy as np
import pyarrow.parquet as pq
import pytest
from astropy import units
from astropy.coordinates import SkyCoord
from conformance.writer_checks import contents
from hypothesis import given
from hypothesis import strategies as st
from pyarrow import concat_tables
from simple_predictions import make_predictions

from distcnn.catalogue import Selection, describe, export
from distcnn.catalogue.hats.margins import margin_ranges
from distcnn.catalogue.hats.partitions import COUNT_ORDER, Partition, count_stars, partitions_of
from distcnn.errors import StoreError, UsageError
from distcnn.executor import SerialExecutor, TaskResult
from distcnn.survey import Region

pytest.importorskip("hats", reason="the library hats is not installed")
from hats.pixel_math.spatial_index import compute_spatial_index

STARS = 2000


@pytest.fixture(scope="module")
def predictions(tmp_path_factory):
    return make_predictions(tmp_path_factory.mktemp("hats") / "p.zarr", STARS)


@pytest.fixture(autouse=True)
def _small(monkeypatch):
    monkeypatch.setattr("distcnn.catalogue.hats.build.MOST_STARS", 100)
    monkeypatch.setattr("distcnn.catalogue.rows.REGION_BYTES", 40_000)


class Failing(SerialExecutor):
    """Ends the process, as it were, after so many tasks; ``done`` counts those of this run."""

    def __init__(self, after):
        super().__init__()
        self.left, self.done = after, 0

    def __call__(self, function, tasks):
        for task in tasks:
            if self.left == 0:
                yield TaskResult(task, None, KeyboardInterrupt())
            self.left -= 1
            self.done += 1
            yield from super().__call__(function, [task])


counts_at_any_order = st.dictionaries(
    st.integers(0, 12 * 4**COUNT_ORDER - 1), st.integers(1, 50), min_size=1, max_size=40
)


@given(counts_at_any_order, st.integers(1, 200))
def test_every_star_is_in_one_partition_that_is_no_larger_than_it_must_be(counts, most):
    partitions = partitions_of(counts, most)
    ranges = [one.index_range for one in partitions]
    assert all(a[1] <= b[0] for a, b in pairwise(ranges))
    shift = 2 * (29 - COUNT_ORDER)
    stars = {
        one: sum(n for p, n in counts.items() if low <= p << shift < high)
        for one, (low, high) in zip(partitions, ranges, strict=True)
    }
    assert sum(stars.values()) == sum(counts.values())
    for one, number in stars.items():
        assert 0 < number <= most or one.order == COUNT_ORDER
        if one.order:
            above = Partition(one.order - 1, one.pixel >> 2)
            low, high = above.index_range
            assert sum(n for p, n in counts.items() if low <= p << shift < high) > most


def test_counting_agrees_with_the_positions():
    rng = np.random.default_rng(1)
    index = compute_spatial_index(rng.uniform(0, 360, 500), rng.uniform(-90, 90, 500))
    coarse = compute_spatial_index(*_centres(index), COUNT_ORDER)
    assert count_stars(index) == Counter(coarse.tolist())


def _centres(index):
    import cdshealpix

    lon, lat = cdshealpix.healpix_to_lonlat(index.astype("u8"), 29)
    return lon.deg, lat.deg


def test_rows_are_where_their_position_says_and_sorted(predictions, tmp_path):
    export(predictions.path, tmp_path / "c.hats")
    files = sorted((tmp_path / "c.hats" / "dataset").rglob("*.parquet"))
    assert len(files) > 12
    for file in files:
        rows = pq.ParquetFile(file).read()
        order, pixel = (int(part.split("=")[1]) for part in (file.parts[-3], file.stem))
        index = compute_spatial_index(rows["ra"].to_numpy(), rows["dec"].to_numpy())
        np.testing.assert_array_equal(rows["_healpix_29"].to_numpy(), index)
        assert (index >> 2 * (29 - order) == pixel).all()
        assert (np.diff(index) >= 0).all()
        assert rows.num_rows <= 100


def test_workers_write_the_bytes_of_one_process(predictions, tmp_path):
    wanted = Selection(where="snr > 30")
    one = export(predictions.path, tmp_path / "one.hats", selection=wanted)
    two = export(
        predictions.path, tmp_path / "two.hats", selection=wanted, executor=SerialExecutor()
    )
    assert one == two > 0
    assert contents(tmp_path / "one.hats") == contents(tmp_path / "two.hats")


@pytest.mark.parametrize("after", [0, 1, 5, 20])
def test_a_run_that_was_stopped_goes_on_and_gives_the_same(predictions, tmp_path, after):
    target = tmp_path / "c.hats"
    export(predictions.path, tmp_path / "whole.hats")
    with pytest.raises(KeyboardInterrupt):
        export(predictions.path, target, executor=Failing(after))
    assert not target.exists()
    left = {path: path.stat().st_mtime_ns for path in _stored(tmp_path / "c.hats.partial")}
    assert len(left) == after
    goes_on = Failing(after)
    with pytest.raises(KeyboardInterrupt):
        export(predictions.path, target, executor=goes_on)
    assert {path: path.stat().st_mtime_ns for path in left} == left
    assert export(predictions.path, target, executor=SerialExecutor()) == STARS
    assert contents(target) == contents(tmp_path / "whole.hats")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["c.hats", "whole.hats"]


def _stored(folder):
    return [path for path in folder.rglob("*") if path.suffix in (".arrow", ".parquet")]


def test_what_was_left_of_another_export_is_not_used(predictions, tmp_path):
    target = tmp_path / "c.hats"
    with pytest.raises(KeyboardInterrupt):
        export(predictions.path, target, executor=Failing(3))
    wanted = Selection(("source_id", "ra", "dec", "teff"), "snr > 30")
    export(predictions.path, target, selection=wanted, executor=SerialExecutor())
    export(predictions.path, tmp_path / "other.hats", selection=wanted)
    assert contents(target) == contents(tmp_path / "other.hats")


def test_stars_without_a_position_are_refused_with_the_cure(tmp_path):
    store = make_predictions(tmp_path / "p.zarr", 300)
    region = Region(0, 300)
    values = store.read(region)
    values["ra"][7] = np.nan
    values["dec"][8] = 91.0
    store.write(region, values)
    with pytest.raises(StoreError, match=r"2 of 300 stars have no position.*--where"):
        export(store.path, tmp_path / "c.hats")
    assert [path.name for path in tmp_path.iterdir()] == ["p.zarr"]
    wanted = Selection(where="isfinite(ra) and dec <= 90")
    assert export(store.path, tmp_path / "c.hats", selection=wanted) == 298


@pytest.mark.parametrize(
    ("wanted", "message"),
    [
        (Selection(("source_id", "ra")), "without dec.*Add ra,dec to --columns"),
        (Selection(where="snr > 1e9"), "no star fulfils the condition"),
    ],
)
def test_what_cannot_be_a_hats_catalogue_is_refused(predictions, tmp_path, wanted, message):
    for executor in (None, SerialExecutor()):
        with pytest.raises(UsageError, match=message):
            export(predictions.path, tmp_path / "c.hats", selection=wanted, executor=executor)
        assert not (tmp_path / "c.hats").exists()


def test_without_the_library_the_extra_is_named(predictions, tmp_path, monkeypatch):
    import sys

    from distcnn.errors import MissingExtra

    monkeypatch.setitem(sys.modules, "hats.pixel_math.spatial_index", None)
    with pytest.raises(MissingExtra, match=r"distcnn\[hats\]"):
        export(predictions.path, tmp_path / "c.hats")


def test_blocks_of_any_size_give_the_same_catalogue(predictions, tmp_path, monkeypatch):
    export(predictions.path, tmp_path / "a.hats")
    monkeypatch.setattr("distcnn.catalogue.table.BLOCK_ROWS", 130)
    export(predictions.path, tmp_path / "b.hats")
    assert contents(tmp_path / "a.hats") == contents(tmp_path / "b.hats")


MARGIN = 1800.0
"""Half a degree: so wide that 2,000 stars on the whole sky have neighbours across borders."""


def test_margins_hold_every_star_near_a_partition_and_none_of_its_own(predictions, tmp_path):
    target = tmp_path / "c.hats"
    export(predictions.path, target, selection=Selection(margin=MARGIN))
    main = dict(_partitions(target / "catalogue"))
    margins = dict(_partitions(target / "margin"))
    stars = concat_tables(list(main.values()))
    places = SkyCoord(stars["ra"], stars["dec"], unit="deg")
    names = stars["source_id"].to_numpy()
    near = 0
    for one, own in main.items():
        inside = np.isin(names, own["source_id"])
        _, apart, _ = places.match_to_catalog_sky(places[inside])
        # Nearer to one of its stars than the margin is nearer to the partition too.
        expected = names[~inside & (apart.arcsec < MARGIN)]
        found = margins[one]["source_id"].to_numpy() if one in margins else np.empty(0)
        assert np.isin(expected, found).all()
        assert not np.isin(found, own["source_id"]).any()
        near += len(expected)
    assert near > 10
    assert describe(target).startswith(f"{target}: a catalogue of 2,000 stars")


def _partitions(folder):
    for file in sorted((folder / "dataset").rglob("*.parquet")):
        yield file.relative_to(folder), pq.ParquetFile(file).read()


@given(st.integers(0, 6), st.data(), st.floats(1, 3600))
def test_the_ranges_of_a_margin_are_apart_and_outside_of_the_partition(order, data, margin):
    pixel = data.draw(st.integers(0, 12 * 4**order - 1))
    low, high = Partition(order, pixel).index_range
    ranges = margin_ranges(Partition(order, pixel), margin)
    assert (ranges[:, 0] < ranges[:, 1]).all()
    assert (ranges[1:, 0] > ranges[:-1, 1]).all()
    assert ((ranges[:, 1] <= low) | (ranges[:, 0] >= high)).all()


def test_margins_are_for_hats_alone(predictions, tmp_path):
    with pytest.raises(UsageError, match=r"margins in c\.fits"):
        export(predictions.path, tmp_path / "c.fits", selection=Selection(margin=1.0))


@pytest.mark.filterwarnings("ignore")
def test_lsdb_finds_the_margin_and_with_it_matches_across_borders(predictions, tmp_path):
    lsdb = pytest.importorskip("lsdb", reason="the library lsdb is not installed")
    target = tmp_path / "c.hats"
    export(predictions.path, target, selection=Selection(margin=MARGIN), executor=SerialExecutor())
    whole = lsdb.open_catalog(target)
    bare = lsdb.open_catalog(target / "catalogue")
    assert whole.margin is not None
    near = {"n_neighbors": 5, "radius_arcsec": MARGIN - 1, "suffixes": ("_a", "_b")}
    pairs, without = (len(bare.crossmatch(one, **near).compute()) for one in (whole, bare))
    stored = predictions.read(Region(0, STARS))
    places = SkyCoord(stored["ra"], stored["dec"], unit="deg")
    first, _, _, _ = places.search_around_sky(places, (MARGIN - 1) * units.arcsec)
    # LSDB itself leaves out a few of them at so large a radius, within a partition too.
    assert without < 0.995 * len(first) < pairs <= len(first)


@pytest.mark.filterwarnings("ignore")
def test_lsdb_opens_the_catalogue_and_matches_it_with_another(predictions, tmp_path):
    lsdb = pytest.importorskip("lsdb", reason="the library lsdb is not installed")
    few = Selection(("source_id", "ra", "dec", "teff"), "snr > 100")
    export(predictions.path, tmp_path / "all.hats")
    export(predictions.path, tmp_path / "few.hats", selection=few)
    whole, part = (lsdb.open_catalog(tmp_path / name) for name in ("all.hats", "few.hats"))
    stored = predictions.read(Region(0, STARS))
    rows = whole.compute().sort_values("source_id")
    np.testing.assert_array_equal(rows["source_id"], stored["source_id"])
    np.testing.assert_array_equal(rows["teff"].astype("f4"), stored["label"][:, 0])
    matched = part.crossmatch(whole, radius_arcsec=0.1, suffixes=("_few", "_all")).compute()
    assert len(matched) == (stored["snr"] > 100).sum() > 100
    assert (matched["source_id_few"] == matched["source_id_all"]).all()
    cone = whole.cone_search(ra=180, dec=10, radius_arcsec=20 * 3600).compute()
    assert 0 < len(cone) < STARS


@pytest.mark.filterwarnings("ignore")
def test_lsdb_reads_covariances_of_many_labels_as_one_column(tmp_path):
    lsdb = pytest.importorskip("lsdb", reason="the library lsdb is not installed")
    labels = tuple(f"label_{n}" for n in range(24))
    store = make_predictions(tmp_path / "p.zarr", 300, labels, limits=None)
    wanted = Selection(("source_id", "ra", "dec", "label_covariance"), "status == DONE")
    export(store.path, tmp_path / "c.hats", selection=wanted)
    rows = lsdb.open_catalog(tmp_path / "c.hats").compute().sort_values("source_id")
    assert list(rows.columns) == list(wanted.columns)
    found = np.stack([np.asarray(cell).reshape(24, 24) for cell in rows["label_covariance"]])
    error = store.read(Region(0, 300), ["label_error"])["label_error"][1:]
    np.testing.assert_allclose(np.diagonal(found, axis1=1, axis2=2), error**2, rtol=1e-6)
