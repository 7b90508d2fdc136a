import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from distcnn.errors import RegionError
from distcnn.survey import Region, tile
from distcnn.survey.regions import check_whole_shards

sizes = st.integers(min_value=1, max_value=64)


@settings(deadline=None)
@given(stars=st.integers(1, 5000), shard=sizes, shards=st.integers(1, 5))
def test_tiles_cover_every_star_once_and_never_share_a_shard(stars, shard, shards):
    regions = tile(stars, shard=shard, shards=shards)
    rows = [row for region in regions for row in range(region.start, region.stop)]
    assert rows == list(range(stars))
    owners = {}
    for region in regions:
        for row in range(region.start, region.stop):
            assert owners.setdefault(row // shard, region) is region
        check_whole_shards(region, stars=stars, shard=shard)


@given(start=st.integers(0, 10**8), size=st.integers(1, 10**6))
def test_a_region_survives_the_round_trip_through_its_name(start, size):
    region = Region(start, start + size)
    assert Region.parse(region.name) == region
    assert region.size == size


@given(names=st.lists(st.tuples(st.integers(0, 10**8), st.integers(1, 9)), min_size=2))
def test_names_sort_like_regions(names):
    regions = [Region(start, start + size) for start, size in names]
    assert [r.name for r in sorted(regions)] == sorted(r.name for r in regions)


def test_a_region_that_ends_inside_a_shard_is_refused_with_the_right_multiple():
    with pytest.raises(RegionError, match="a multiple of 4 stars"):
        check_whole_shards(Region(2, 8), stars=16, shard=4)
    with pytest.raises(RegionError, match="beyond the store's 6 stars"):
        check_whole_shards(Region(4, 8), stars=6, shard=4)


@pytest.mark.parametrize("bad", [(3, 3), (-1, 2), (5, 1)])
def test_an_empty_or_backward_region_cannot_be_made(bad):
    with pytest.raises(RegionError, match="0 <= start < stop"):
        Region(*bad)


def test_a_text_that_is_no_region_is_refused():
    with pytest.raises(RegionError, match="'start-stop'"):
        Region.parse("12to14")


def test_tiles_of_no_stars_are_refused():
    with pytest.raises(RegionError, match="both at least 1"):
        tile(10, shard=0)


@settings(deadline=None)
@given(stars=st.integers(0, 3000), shard=sizes)
def test_tiles_answer_like_the_list_of_them(stars, shard):
    tiles = tile(stars, shard=shard)
    regions = list(tiles)
    assert len(tiles) == len(regions)
    assert [tiles[n] for n in range(len(tiles))] == regions == tiles[:]
    assert tiles[1:-1:2] == regions[1:-1:2]
    assert all(region in tiles for region in regions)
    assert Region(0, stars + shard) not in tiles
    with pytest.raises(IndexError):
        tiles[len(regions)]
