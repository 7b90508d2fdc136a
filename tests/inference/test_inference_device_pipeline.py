from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from distcnn.inference import verify
from distcnn.inference.predict import package_key
from distcnn.inference.worker import package_cache
from distcnn.inference.worker.device_pipeline import DevicePipeline
from distcnn.inference.worker.novelty_torch import NoveltyTorch
from distcnn.inference.worker.package_cache import get_cached
from distcnn.inference.worker.predictor import Predictor
from distcnn.model import Package
from distcnn.survey import Region, Store
from tests.inference.small import CONFIG, go


@pytest.fixture(scope="module")
def parts(made):
    opened = Package.load(made / "package")
    return get_cached(package_key(opened, CONFIG)), Store.open(made / "survey.zarr", "survey")


def both_ways(parts, rows, batch, gone=()):
    predictor, survey = parts
    names = [name for name in predictor.variables if name in survey.variables and name not in gone]
    stored = survey.read_stored(rows, names)
    given = stored, [str(band) for band in survey.coordinate("band")], batch, survey.quantised
    return predictor.predict(*given), replace(predictor, fast_path=False).predict(*given)


@settings(max_examples=12, deadline=None)
@given(start=st.integers(0, 60), stars=st.integers(1, 90), batch=st.integers(1, 64))
def test_the_fast_path_on_a_cpu_gives_what_the_staged_steps_give(parts, start, stars, batch):
    home, away = both_ways(parts, Region(start, start + stars), batch)
    assert home.keys() == away.keys()
    error = home["label_error"]
    for name in ("label", "label_noise", "label_scatter", "label_error"):
        gap = np.abs(away[name] - home[name]) / error
        assert np.nanmax(gap, initial=0) < 1e-3, name
        assert (np.isnan(away[name]) == np.isnan(home[name])).all()
    np.testing.assert_allclose(away["novelty"], home["novelty"], rtol=1e-3, atol=2e-4)
    np.testing.assert_array_equal(away["valid_pixels"], home["valid_pixels"])
    near = np.abs(home["novelty"] - 1) < 1e-3
    np.testing.assert_array_equal(away["flags"][~near], home["flags"][~near])


def test_a_survey_without_a_modality_is_told_alike(parts):
    for gone in (("flux", "flux_error"), ("xp",), ("parallax",), ("photometry",)):
        home, away = both_ways(parts, Region(0, 40), 16, gone)
        np.testing.assert_array_equal(away["flags"], home["flags"], err_msg=gone)
        np.testing.assert_allclose(away["label"], home["label"], rtol=1e-4, err_msg=gone)


def test_a_whole_run_through_staging_buffers_is_verified(inputs, monkeypatch):
    monkeypatch.setattr(package_cache, "Predictor", partial(Predictor, fast_path=False))
    package_cache._cached.clear()
    go(inputs)
    checked = verify(inputs / "predictions.zarr", CONFIG)
    package_cache._cached.clear()
    assert checked.recomputed == checked.identical > 0


def test_measures_are_those_of_numpy(parts):
    predictor, survey = parts
    light = ["xp", "photometry", "parallax", "parallax_error"]
    given = survey.read(Region(0, 60), ["flux", "flux_error", *light])
    flux, error = given.pop("flux"), given.pop("flux_error")
    flux[3] = np.nan
    error[4, ::2] = np.nan
    error[5, :10] = 0
    novelty = predictor.quality.novelty
    assert novelty.blends is not None
    assert novelty.expected is not None
    on_device = {name: torch.from_numpy(values) for name, values in given.items()}
    found = NoveltyTorch(novelty)(torch.from_numpy(flux), torch.from_numpy(error), on_device)
    wanted = novelty.measures(flux, error, given)
    assert not np.array_equal(wanted[0][:, -1], novelty.measures(flux, error)[0][:, -1])
    np.testing.assert_allclose(found[0], wanted[0], rtol=1e-3, atol=1e-4)
    np.testing.assert_allclose(found[1], wanted[1], rtol=1e-5)
    assert torch.isnan(found[0][3]).all()
    without = NoveltyTorch(novelty)(torch.from_numpy(flux), None)
    np.testing.assert_allclose(without[0], novelty.measures(flux, None)[0], rtol=1e-3, atol=1e-4)


def test_staging_buffers_are_made_once_per_size_and_kind(parts):
    predictor, survey = parts
    given = predictor.ensemble, predictor.quality.novelty, predictor.spec, survey.quantised
    pipeline = DevicePipeline(*given, fast_path=False)
    names = [name for name in predictor.variables if name in survey.variables]
    stored = survey.read_stored(Region(0, 50), names)
    bands = [str(band) for band in survey.coordinate("band")]
    pipeline(stored, bands, 16)
    first = pipeline._staging
    pipeline(stored, bands, 16)
    assert pipeline._staging is first
    pipeline(stored, bands, 8)
    assert pipeline._staging is not first
