"""Density images: every star is seen, the scale is theirs, few stars get large pixels."""

import matplotlib as mpl
import numpy as np
import pytest

from distcnn.maps.drawing import (
    STARS_A_PIXEL,
    add_density_scale,
    draw_density,
    readable,
    shade_of,
    shaded,
)
from distcnn.style import DENSITY, panels


@pytest.mark.parametrize("counts", [[[0, 1], [1, 1]], [[0, 7], [7, 0]], [[0, 1], [2, 9]]])
def test_pixels_with_stars_are_opaque_and_empty_ones_are_not(counts):
    counts = np.array(counts)
    assert ((shaded(counts)[..., 3] == 255) == (counts > 0)).all()


def test_no_image_of_no_stars_is_refused():
    assert not shaded(np.zeros((3, 4), int)).any()
    assert not readable(np.zeros((480, 640), int)).any()


def test_the_scale_has_the_colours_of_the_image():
    counts = np.random.default_rng(0).geometric(0.2, (60, 80)) - 1
    seen = counts > 0
    expected = mpl.colormaps[DENSITY](shade_of(counts, counts[seen]), bytes=True)
    assert np.abs(shaded(counts)[seen].astype(int) - expected).max() <= 3


def test_the_scale_names_counts_that_there_are():
    counts = np.random.default_rng(1).geometric(0.05, (60, 80))
    figure, ((axes,),) = panels(1, 1, width=4, height=3)
    draw_density(axes, counts, (0, 1), (0, 1))
    add_density_scale(figure, axes, counts)
    named = [int(text.get_text()) for text in figure.axes[1].get_yticklabels()]
    assert named == sorted(named)
    assert counts.min() <= named[0] < named[-1] <= counts.max()


@pytest.mark.parametrize("stars", [200, 20_000, 2_000_000])
def test_few_stars_are_shown_in_larger_pixels_and_none_is_lost(stars):
    rng = np.random.default_rng(2)
    counts = np.zeros((480, 640), int)
    np.add.at(counts, (rng.integers(0, 480, stars), rng.integers(0, 640, stars)), 1)
    coarse = readable(counts)
    assert coarse.sum() == stars
    assert (coarse.shape == counts.shape) == (stars > STARS_A_PIXEL * counts.size)
    assert min(coarse.shape) >= 44
