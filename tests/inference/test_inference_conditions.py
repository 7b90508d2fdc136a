"""A survey of another kind than the training survey is refused, with the difference named."""

import json

import pytest

from distcnn.config import PredictConfig
from distcnn.errors import PackageError
from distcnn.inference.compatibility import check_conditions
from distcnn.inference.plan import plan
from distcnn.manifest import SurveySection
from distcnn.model import Package
from distcnn.survey import CONDITIONS, Store, spectra_conditions
from tests.inference.small import CONFIG

TRAINED_ON = {
    "medium": "vacuum",
    "frame": "stellar rest",
    "normalisation": "none",
    "flux_unit": "Jy",
    "snr_interval": "0.0245 nm",
    "release": "test",
}
OTHERS = {
    "medium": "air",
    "frame": "barycentric",
    "normalisation": "median",
    "flux_unit": "mJy",
    "snr_interval": "0.1 nm",
    "release": "DR9",
}


def rewrite(survey, **changes):
    """The survey at that path, stating other conditions; None takes one away."""
    file = survey / "zarr.json"
    whole = json.loads(file.read_bytes())
    attrs = whole["consolidated_metadata"]["metadata"]["wavelength"]["attributes"]
    whole["attributes"]["release"] = changes.pop("release", "test")
    whole["attributes"]["snr_interval"] = changes.pop("snr_interval", None)
    flux = whole["consolidated_metadata"]["metadata"]["flux"]["attributes"]
    flux["units"] = changes.pop("flux_unit", "")
    attrs |= changes
    file.write_text(json.dumps(whole))
    return Store.open(survey, "survey")


@pytest.fixture
def spec(inputs):
    return Package.load(inputs / "package").spec


@pytest.mark.parametrize("name", CONDITIONS)
@pytest.mark.parametrize("accepted", [False, True])
def test_a_survey_that_differs_in_one_condition_is_refused_unless_told(
    inputs, spec, name, accepted
):
    survey = rewrite(inputs / "survey.zarr", **TRAINED_ON | {name: OTHERS[name]})
    section = SurveySection(**TRAINED_ON)
    if accepted:
        (notice,) = check_conditions(section, spec, survey, accept=[name])
        assert OTHERS[name] in notice
        assert TRAINED_ON[name] in notice
        return
    with pytest.raises(PackageError, match=f"{name} '{OTHERS[name]}'") as caught:
        check_conditions(section, spec, survey)
    assert f"{name} '{TRAINED_ON[name]}'" in caught.value.expected
    assert f"predict.accept=[{name}]" in caught.value.cure


def test_every_difference_is_named_at_once(inputs, spec):
    survey = rewrite(inputs / "survey.zarr", **OTHERS)
    with pytest.raises(PackageError) as caught:
        check_conditions(SurveySection(**TRAINED_ON), spec, survey, accept=["frame"])
    named = "medium 'air', normalisation 'median', flux_unit 'mJy', snr_interval '0.1 nm', release"
    assert named in caught.value.problem
    assert (
        "predict.accept=[frame, medium, normalisation, flux_unit, snr_interval, release]"
        in caught.value.cure
    )


def test_the_same_conditions_pass_without_a_word(inputs, spec):
    survey = rewrite(inputs / "survey.zarr", **TRAINED_ON)
    assert check_conditions(SurveySection(**TRAINED_ON), spec, survey) == []


def test_a_package_from_before_conditions_were_kept_predicts_and_says_so(inputs):
    rewrite(inputs / "survey.zarr", **TRAINED_ON)
    paths = inputs / "package", inputs / "survey.zarr", inputs / "predictions.zarr"
    page = str(plan(*paths, CONFIG))
    assert (
        "The package does not say medium, frame, normalisation, flux_unit, snr_interval, release"
        in page
    )


def test_conditions_that_a_survey_does_not_state_are_absent(inputs):
    assert spectra_conditions(Store.open(inputs / "survey.zarr", "survey")) == {"release": "test"}


def test_an_unknown_condition_in_the_settings_is_refused():
    with pytest.raises(ValueError, match="medium"):
        PredictConfig(accept=("colour",))


def test_a_survey_that_does_not_say_what_its_snr_is_per_is_predicted_with_a_notice(inputs, spec):
    survey = rewrite(inputs / "survey.zarr", **TRAINED_ON | {"snr_interval": None})
    (notice,) = check_conditions(SurveySection(**TRAINED_ON), spec, survey)
    assert "0.0245 nm" in notice
