"""The regions of a run: from the survey alone, and those of the store where one was begun."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from inference.small import layout_of

from distcnn.inference.prediction_store import (
    MIN_REGION_STARS,
    MIN_REGIONS,
    region_stars,
    regions_of,
)
from distcnn.survey import create_store


class Sizes:
    """What a survey says of its size."""

    def __init__(self, stars, chunk, parts):
        self.stars, self.chunk_stars, self.shard_stars = stars, chunk, chunk * parts


@pytest.mark.parametrize(
    ("stars", "expected"),
    [(262_144, 4096), (600_000, 8192), (1_048_576, 16_384), (10**9, 16_384), (100, 4096)],
)
def test_a_survey_of_few_shards_is_cut_into_more_regions(stars, expected):
    assert region_stars(Sizes(stars, 1024, 16)) == expected


@given(st.integers(1, 10**7), st.integers(1, 20_000), st.integers(1, 64))
def test_a_region_is_whole_chunks_and_divides_a_shard(stars, chunk, parts):
    survey = Sizes(stars, chunk, parts)
    size = region_stars(survey)
    assert size % chunk == survey.shard_stars % size == 0
    assert size == survey.shard_stars or size >= MIN_REGION_STARS
    assert size == survey.shard_stars or stars < 2 * MIN_REGIONS * size


def test_a_store_that_was_begun_keeps_its_regions(tmp_path):
    survey, store = Sizes(20_000, 1024, 16), tmp_path / "predictions.zarr"
    assert len(regions_of(survey, store)) == 5
    create_store(store, replace(layout_of(24), kind="predictions"))
    assert regions_of(survey, store).stars == 24
