"""Copies of bright stars are drawn as the survey's own stars are, of which no label is known."""

import numpy as np
import pytest

from distcnn.config import AugmentConfig, NetworkConfig, SplitConfig, TrainConfig
from distcnn.events import Advanced
from distcnn.model import InputSpec
from distcnn.survey import Store
from distcnn.survey.split import assign_split
from distcnn.training import Split
from distcnn.training.data.copies.faint_population import (
    CANDIDATES,
    MOST_WEIGHT,
    _Seen,
    _survey_stars,
    weights,
    with_copies_of_the_survey,
)
from distcnn.training.data.labelled import read_labelled

CONFIG = TrainConfig(augment=AugmentConfig(faint_inputs=True, faintest=15.0))


@pytest.fixture(scope="module")
def read(survey):
    store = Store.open(survey, "survey")
    spec = InputSpec.of_survey(store, NetworkConfig(), None)
    return store, spec, read_labelled(store, spec, SplitConfig(), Split.CALIBRATION)


def answers(label, snr, rng):
    """What networks say that know labels of mean 0 and width 1: the less, the fainter the star."""
    error = 3 / snr[:, None]
    return (label + error * rng.normal(size=label.shape)) / (1 + np.square(error))


def test_copies_stand_for_stars_of_other_labels_whatever_networks_make_of_these(rng):
    snr, survey_snr = 10 ** rng.uniform(0.3, 2, 8000), 10 ** (0.3 + 1.7 * rng.beta(1, 2, 12_000))
    # Farther out stars have lower labels; most of the survey is faint.
    place = np.log10(survey_snr)[:, None]
    far = -1.4 + 0.7 * place + (1 - 0.2 * place) * rng.normal(size=(12_000, 1))
    near = rng.normal(size=(8000, 1))
    copies = _Seen(answers(near, snr, rng), near, snr)
    found = weights(copies, _Seen(answers(far, survey_snr, rng), far + np.nan, survey_snr))
    assert 0 < found.min() < found.max() <= MOST_WEIGHT + 1
    for low, high in ((2, 4), (4, 10), (10, 100)):
        inside = (snr >= low) & (snr < high)
        weight, label = found[inside], near[inside, 0]
        mean = np.average(label, weights=weight)
        width = np.sqrt(np.average(np.square(label - mean), weights=weight))
        middle = np.log10(snr[inside]).mean()
        assert mean == pytest.approx(-1.4 + 0.7 * middle, abs=0.18)
        assert width == pytest.approx(1 - 0.2 * middle, abs=0.18)


def test_copies_that_are_as_the_survey_are_drawn_alike(rng):
    label, snr = rng.normal(size=(8000, 2)), 10 ** rng.uniform(0, 2, 8000)
    said = answers(label, snr, rng)
    copies, survey = (
        _Seen(said[at], label[at], snr[at]) for at in (slice(4000), slice(4000, None))
    )
    assert np.quantile(weights(copies, survey), [0.05, 0.95]) == pytest.approx(1, abs=0.3)


def test_fainter_copies_than_the_survey_has_stars_are_not_held_against_these(rng):
    snr = 10 ** rng.uniform(-1, 2, 8000)
    label = rng.normal(size=(8000, 1))
    copies = _Seen(answers(label, snr, rng), label, snr)
    survey_snr = 10 ** rng.uniform(1, 2, 4000)
    far = rng.normal(size=(4000, 1))
    survey = _Seen(answers(far, survey_snr, rng), far, survey_snr)
    assert np.quantile(weights(copies, survey), [0.05, 0.95]) == pytest.approx(1, abs=0.3)
    few = _Seen(*(values[:100] for values in vars(copies).values()))
    assert (weights(few, survey) == 1).all()


def test_copies_keep_the_labels_of_their_stars_and_follow_the_survey(read):
    store, spec, stars = read
    labels = np.nan_to_num(stars.label)
    known = dict(zip(stars.source_id.tolist(), labels, strict=True))
    metals = spec.labels.index("mh")
    poor = labels[labels[:, metals] < np.median(labels[:, metals])]

    def predict(some):
        """Right for the stars; the survey has those alone that are poor in metals."""
        if np.isin(some.source_id, stars.source_id).all():
            return np.stack([known[int(star)] for star in some.source_id])
        return poor[np.random.default_rng(0).integers(0, len(poor), len(some))]

    both = with_copies_of_the_survey(stars, predict, store, spec, CONFIG)
    count = len(stars)
    assert len(both) == 2 * count
    np.testing.assert_array_equal(both.source_id[:count], stars.source_id)
    copies = both.take(slice(count, None))
    for star, label in zip(copies.source_id.tolist(), np.nan_to_num(copies.label), strict=True):
        np.testing.assert_array_equal(label, known[star])
    metallicity = np.nan_to_num(copies.label[:, metals])
    assert metallicity.mean() < labels[:, metals].mean() - 0.4 * labels[:, metals].std()
    assert len(np.unique(copies.source_id)) > 0.4 * count
    heard = []
    again = with_copies_of_the_survey(stars, predict, store, spec, CONFIG, listener=heard.append)
    assert sum(event.count for event in heard if isinstance(event, Advanced)) == CANDIDATES + 1
    np.testing.assert_array_equal(again.inputs["flux"], both.inputs["flux"])


def test_where_nothing_tells_them_apart_every_star_has_a_copy(read):
    store, spec, stars = read
    known = dict(zip(stars.source_id.tolist(), np.nan_to_num(stars.label), strict=True))

    def predict(some):
        usual = np.zeros(len(spec.labels))
        return np.stack([known.get(int(star), usual) for star in some.source_id])

    faint = CONFIG.model_copy(update={"augment": AugmentConfig(faint_inputs=True, faintest=0.01)})
    both = with_copies_of_the_survey(stars.take(slice(60)), predict, store, spec, faint)
    np.testing.assert_array_equal(np.sort(both.source_id[60:]), np.sort(stars.source_id[:60]))


def test_no_star_of_the_test_split_is_looked_at(read):
    store, spec, _ = read
    seen = _survey_stars(store, spec, CONFIG)
    assert len(seen) > 100
    assert (assign_split(seen.source_id, CONFIG.split) != Split.TEST).all()


def test_without_the_setting_there_are_none(read):
    store, spec, stars = read
    assert with_copies_of_the_survey(stars, None, store, spec, TrainConfig()) is stars
