import numpy as np
import pytest

from distcnn.baselines import compare
from distcnn.errors import StoreError
from distcnn.schema import SURVEY_VARIABLES
from distcnn.survey import Coordinate, Layout, create_store

NAMES = ("source_id", "flux", "photometry", "parallax", "parallax_error", "label")
STARS, PIXELS = 900, 12


def survey(path, rng, *, labelled=0.8, names=NAMES):
    """Labels that the flux holds exactly and the magnitudes only in part."""
    layout = Layout(
        kind="survey",
        sizes={"star": STARS, "pixel": PIXELS, "band": 3, "label": 2},
        chunk_stars=150,
        shard_stars=300,
        variables=tuple(SURVEY_VARIABLES[name] for name in names),
        coordinates={
            "label": Coordinate("label", np.array(["teff", "mh"])),
            "band": Coordinate("band", np.array(["G", "BP", "RP"])),
        },
        attrs={},
    )
    label = rng.normal(0, 1, (STARS, 2))
    rows = {
        "source_id": np.arange(1, STARS + 1),
        "flux": 1 + label @ rng.normal(0, 0.05, (2, PIXELS)),
        "photometry": 12 + label[:, :1] * [[0.0, 0.3, -0.2]] + rng.normal(0, 0.02, (STARS, 3)),
        "parallax": np.ones(STARS),
        "parallax_error": np.full(STARS, 0.1),
        "label": np.where(rng.random((STARS, 1)) < labelled, label, np.nan),
    }
    store = create_store(path, layout)
    for region in store.regions():
        store.write(region, {name: rows[name][region.slice] for name in names})
    return store, label


def parts(source_id):
    return source_id % 5


def test_rivals_answer_for_stars_they_were_not_fitted_on(tmp_path, rng):
    store, label = survey(tmp_path / "s.zarr", rng)
    answers = compare(store, ["teff", "mh"], parts)
    assert set(answers) == {"ridge regression, same inputs", "photometry and parallax alone"}
    known = np.isfinite(store.read(store.regions(3)[0])["label"][:, 0])
    for answer in answers.values():
        rows = answer.source_id - 1
        fitted_on = known[rows] & np.isin(parts(answer.source_id), (0, 1))
        assert not fitted_on.any()
        assert answer.label.shape == (len(rows), 2)
    ridge = answers["ridge regression, same inputs"]
    assert np.std(ridge.label - label[ridge.source_id - 1], axis=0).max() < 0.05
    trees = answers["photometry and parallax alone"]
    gap = np.std(trees.label - label[trees.source_id - 1], axis=0)
    assert gap[0] < 0.3 < 0.8 < gap[1]


def test_labels_come_in_the_order_asked_for(tmp_path, rng):
    store, label = survey(tmp_path / "s.zarr", rng)
    ridge = compare(store, ["mh"], parts)["ridge regression, same inputs"]
    assert np.std(ridge.label[:, 0] - label[ridge.source_id - 1, 1]) < 0.05


def test_no_more_stars_are_asked_for_than_allowed(tmp_path, rng):
    store, _ = survey(tmp_path / "s.zarr", rng)
    answers = compare(store, ["teff", "mh"], parts, most=100)
    assert all(len(answer.source_id) == 100 for answer in answers.values())


def test_a_survey_without_spectra_has_no_ridge(tmp_path, rng):
    names = tuple(name for name in NAMES if name != "flux")
    store, _ = survey(tmp_path / "s.zarr", rng, names=names)
    assert set(compare(store, ["teff"], parts)) == {"photometry and parallax alone"}


def test_a_survey_without_labelled_stars_is_told_what_to_do(tmp_path, rng):
    store, _ = survey(tmp_path / "s.zarr", rng, labelled=0.0)
    with pytest.raises(StoreError, match=r"report\.baselines=false"):
        compare(store, ["teff", "mh"], parts)
