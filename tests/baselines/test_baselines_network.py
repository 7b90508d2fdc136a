import numpy as np
import pytest

from distcnn.baselines.network import PackageNetwork
from distcnn.survey import Region, Store
from tests.inference.small import go, make_package, make_survey


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A folder with a survey, a package that fits it, and predictions."""
    folder = tmp_path_factory.mktemp("made")
    make_package(folder / "package", make_survey(folder / "survey.zarr"))
    go(folder)
    return folder


def test_the_network_answers_as_its_predictions_do(made):
    survey = Store.open(made / "survey.zarr")
    network = PackageNetwork.load(made / "package", survey)
    names = [name for name in survey.variables if not name.startswith("label")]
    found = network.predict(survey.read(Region(0, survey.stars), names))
    stored = Store.open(made / "predictions.zarr").read(
        Region(0, survey.stars), ["label", "label_error"]
    )
    assert found.label == pytest.approx(stored["label"], rel=1e-4, abs=1e-3, nan_ok=True)
    assert found.error == pytest.approx(stored["label_error"], rel=1e-3, nan_ok=True)


def test_members_give_their_scatter_before_errors_are_calibrated(made):
    survey = Store.open(made / "survey.zarr")
    network = PackageNetwork.load(made / "package", survey)
    inputs = survey.read(Region(0, 20), list(network.variables))
    found = network.members(inputs)
    assert found.scatter.shape == found.label.shape == (20, 3)
    assert (found.scatter > 0).all()
    assert np.isfinite(found.label).all()
