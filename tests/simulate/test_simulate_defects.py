"""Defects that came later: each changes the stars that have it, and no other number."""

import numpy as np
import pytest

from distcnn.config import DefectConfig, SimulateConfig
from distcnn.schema import LATER_DEFECTS, Defect
from distcnn.simulate import DR3_GRID
from distcnn.simulate.archive import _recorded
from distcnn.simulate.galaxy import draw_stars, split_sky
from distcnn.simulate.observe import observed_spectra

STARS = 60


def _spectra(**trouble):
    (sky,) = split_sky(STARS, STARS)
    rng = np.random.default_rng(4)
    config = SimulateConfig(spectrumless=0.0, trouble=DefectConfig(**trouble))
    stars = draw_stars(rng, sky, config)
    flux, error = observed_spectra(rng, stars, np.arange(STARS), DR3_GRID)
    return stars, flux, error


@pytest.fixture(scope="module")
def clean():
    return _spectra()


@pytest.mark.parametrize("kind", LATER_DEFECTS)
def test_a_defect_changes_the_stars_that_have_it_and_no_other_number(clean, kind):
    stars, flux, _ = _spectra(**{kind.value: 0.4})
    affected = stars.affected[kind]
    assert 10 < affected.sum() < 40
    np.testing.assert_array_equal(stars.source_id, clean[0].source_id)
    np.testing.assert_array_equal(flux[~affected], clean[1][~affected])
    changed = np.nan_to_num(np.abs(flux - clean[1])).max(axis=1) > 0
    assert changed[affected].all()


def test_emission_stands_above_what_was_there(clean):
    stars, flux, _ = _spectra(emission=0.4)
    here = DR3_GRID.samples(854.444 - DR3_GRID.start)
    affected = stars.affected[Defect.EMISSION]
    assert (flux - clean[1])[affected, here].mean() > 0.3


def test_settings_of_archives_without_them_are_recorded_as_before():
    recorded = _recorded(SimulateConfig())["trouble"]
    assert "cosmic" in recorded
    assert not {kind.value for kind in LATER_DEFECTS} & set(recorded)
    some = _recorded(SimulateConfig(trouble=DefectConfig(sky=0.1)))["trouble"]
    assert some["sky"] == 0.1
