import numpy as np
import pytest
from simple_survey import LABELS, PIXELS, build_survey

from distcnn.config import NetworkConfig, SplitConfig
from distcnn.errors import TrainingError
from distcnn.model import InputSpec, build_network, fit_scaling
from distcnn.survey import Store
from distcnn.training import Split, assign_split, seen_stars
from distcnn.training.data.labelled import read_labelled, summarise_split
from distcnn.training.data.tensors import scale_stars


def spec_of(store, **network):
    return InputSpec.of_survey(store, NetworkConfig(**network))


def test_parts_hold_every_labelled_star_once(survey, simple, config):
    store = Store.open(survey)
    met = [read_labelled(store, spec_of(store), config.split, part).source_id for part in Split]
    labelled = simple["source_id"][np.isfinite(simple["label"]).any(1)]
    assert sorted(np.concatenate(met)) == sorted(labelled)
    for part, ids in zip(Split, met, strict=True):
        assert (assign_split(ids, config.split) == part).all()


def test_seen_stars_are_all_that_is_labelled_but_the_test_split(survey, simple, config):
    labelled = simple["source_id"][np.isfinite(simple["label"]).any(1)]
    seen = seen_stars(Store.open(survey), config.split)
    assert set(seen) == set(labelled[assign_split(labelled, config.split) != Split.TEST])


def test_rows_keep_their_values_together(survey, simple, config):
    store = Store.open(survey)
    stars = read_labelled(store, spec_of(store), config.split, Split.TRAIN, Split.TEST)
    place = {source_id: row for row, source_id in enumerate(simple["source_id"])}
    rows = [place[source_id] for source_id in stars.source_id]
    np.testing.assert_allclose(stars.label, simple["label"][rows], rtol=1e-6)
    np.testing.assert_allclose(stars.inputs["flux"], simple["flux"][rows], rtol=1e-6)
    np.testing.assert_allclose(
        stars.inputs["astrometry"][:, 0], simple["parallax"][rows], rtol=1e-6
    )
    assert stars.take(slice(0, 3)).label.shape == (3, 3)


def test_a_subset_of_the_labels_in_another_order(survey, config):
    store = Store.open(survey)
    some = InputSpec.of_survey(store, NetworkConfig(), ("mh", "teff"))
    stars = read_labelled(store, some, config.split, Split.TRAIN)
    whole = read_labelled(store, spec_of(store), config.split, Split.TRAIN)
    rows = np.isin(whole.source_id, stars.source_id)
    np.testing.assert_array_equal(stars.label, whole.label[rows][:, [2, 0]])


def test_a_survey_that_is_not_complete_is_not_trained_on(tmp_path, simple, config):
    path = build_survey(tmp_path / "s.zarr", simple, complete=False)
    store = Store.open(path)
    with pytest.raises(TrainingError, match="not complete"):
        summarise_split(store, spec_of(store), config.split)


def test_too_few_stars_are_said_with_their_numbers(tmp_path, simple, config):
    few = {name: array[:3] for name, array in simple.items()}
    store = Store.open(build_survey(tmp_path / "s.zarr", few))
    with pytest.raises(TrainingError, match=r"no labelled star in .*train \d"):
        summarise_split(store, spec_of(store), config.split)
    nobody = SplitConfig(train=1e-9, validation=1e-9, calibration=1e-9)
    with pytest.raises(TrainingError, match="no labelled star in train:"):
        read_labelled(store, spec_of(store), nobody, Split.TRAIN)


def test_the_census_sees_every_value_but_those_of_the_test_split(tmp_path, simple, config):
    def split_summary(name, **changed):
        path = build_survey(tmp_path / name, simple | changed)
        store = Store.open(path)
        return summarise_split(store, spec_of(store), config.split)

    part = assign_split(simple["source_id"], config.split)
    labelled = np.isfinite(simple["label"]).any(1)
    test, train = (np.flatnonzero(labelled & (part == p))[0] for p in (Split.TEST, Split.TRAIN))
    before = split_summary("a")
    label = simple["label"].copy()
    label[test] += 1000
    assert split_summary("b", label=label) == before
    flux = simple["flux"].copy()
    flux[train, 5] += 0.1
    assert split_summary("c", flux=flux).data != before.data
    assert sum(before.counts.values()) == labelled.sum()


@pytest.mark.parametrize("without", [("flux_error",), ("flux_error", "xp"), ("photometry",)])
def test_scaled_stars_have_no_nan_whatever_the_survey_lacks(tmp_path, simple, config, without):
    store = Store.open(build_survey(tmp_path / "s.zarr", simple, without=without))
    spec = spec_of(store)
    stars = read_labelled(store, spec, config.split, Split.TRAIN)
    network = build_network(spec, NetworkConfig(hidden=16), 1)
    fit_scaling(network, stars.inputs, stars.label)
    scaled = scale_stars(network, stars)
    for name, tensor in vars(scaled).items():
        assert np.isfinite(tensor.numpy()).all(), name
    assert scaled.noise.shape == (len(stars), PIXELS)
    assert scaled.known.mean() < 1
    # Without errors the noise is taken from the S/N: here they are the same.
    there = scaled.noise > 0
    error = (1 / scaled.snr) / network.inputs.spectrum_scale
    np.testing.assert_allclose(scaled.noise[there], error.expand_as(there)[there], rtol=2e-3)
    assert set(stars.for_quality()) >= {"reference", "snr", "flux"}
    assert "xp" not in stars.for_quality() or "xp" not in without
    assert spec.labels == LABELS


def test_noise_of_a_logarithm_is_the_error_over_the_flux(survey, config):
    store = Store.open(survey)
    stars = read_labelled(store, spec_of(store), config.split, Split.TRAIN)
    network = build_network(spec_of(store), NetworkConfig(hidden=16, flux="log"), 1)
    fit_scaling(network, stars.inputs, stars.label)
    scaled = scale_stars(network, stars)
    good = np.isfinite(stars.inputs["flux"]) & (stars.inputs["flux"] > 0.1)
    expected = stars.flux_error / stars.inputs["flux"] / network.inputs.spectrum_scale.numpy()
    assert np.allclose(scaled.noise.numpy()[good], expected[good], rtol=1e-5)
