"""A spectrum without information leaves the label that the other inputs give, and says so."""

import numpy as np
import pytest
from simple_survey import LABELS

from distcnn.config import (
    AugmentConfig,
    NetworkConfig,
    QualityConfig,
    SplitConfig,
    StackingConfig,
    TrainConfig,
)
from distcnn.executor import SerialExecutor
from distcnn.model import Package, predict_members
from distcnn.quality import Quality
from distcnn.schema import Flag
from distcnn.survey import Store
from distcnn.training import Split, train_package
from distcnn.training.data.labelled import read_labelled

STEPS = (60.0, 10.0, 1.0, 0.1, 0.01)
"""S/N of the same stars, step by step."""


@pytest.fixture(scope="module")
def faded(tmp_path_factory, survey):
    """Predictions and their quality by S/N, and those of stars without a spectrum."""
    config = TrainConfig(
        members=1,
        epochs=24,
        batch=32,
        learning_rate=0.01,
        network=NetworkConfig(width=16, hidden=32, scale_by_noise=True),
        split=SplitConfig(train=0.55, validation=0.1, calibration=0.3),
        # Faint copies, or no star of the survey would tell how large errors are at a S/N of 1.
        augment=AugmentConfig(
            noise=0.8, faintest=0.3, faint_inputs=True, drop_spectrum=0.1, drop_pixels=0.0
        ),
        stacking=StackingConfig(methods=()),
        precision="float32",
    )
    path = tmp_path_factory.mktemp("faint") / "package"
    settings = QualityConfig(novelty_components=4, snr_edges=(1.0, 3.0, 10.0, 30.0))
    train_package(survey, path, config, settings, executor=SerialExecutor())
    package, store = Package.load(path), Store.open(survey, "survey")
    stars = read_labelled(store, package.spec, config.split, Split.TEST, Split.CALIBRATION)
    networks, rng = package.networks(), np.random.default_rng(1)
    quality, drawn = Quality.from_arrays(package.quality_arrays), rng.standard_normal
    found = {}
    for snr in STEPS:
        own = stars.inputs["snr"]
        after = np.minimum(own, snr).astype(np.float32)
        growth = np.sqrt(np.square(own / after) - 1)
        flux = stars.inputs["flux"] + growth / own * drawn(stars.inputs["flux"].shape)
        inputs = stars.inputs.replaced(flux=flux.astype(np.float32), snr=after)
        label, noise, scatter, _ = predict_members(networks, inputs)
        errors = np.repeat(1 / after, flux.shape[1], axis=1)
        arrays = inputs.variables() | {"flux_error": errors}
        found[snr] = quality.assess(arrays, label, noise, scatter) | {"label": label}
    hidden = predict_members(networks, stars.inputs.without("flux", "snr"))
    return found, hidden


def test_the_label_runs_into_the_photometric_one_as_the_spectrum_fades(faded):
    found, hidden = faded
    unit = np.hypot(hidden.noise, hidden.scatter)
    apart = {
        snr: np.sqrt(np.square((one["label"] - hidden.label) / unit).mean(axis=0))
        for snr, one in found.items()
    }
    # The metallicity stands in the lines alone: bright spectra know better than photometry.
    metals = LABELS.index("mh")
    assert apart[60.0][metals] > 0.5
    assert (apart[0.1] < 1).all()
    assert (apart[0.01] < 1).all()
    assert apart[0.01][metals] < min(0.5, 0.4 * apart[60.0][metals])


def test_the_share_of_the_population_grows_as_the_spectrum_fades(faded):
    found, _ = faded
    metals = LABELS.index("mh")
    ratio = [float(np.median(one["label_prior_ratio"][:, metals])) for one in found.values()]
    assert (np.diff(ratio) > -0.02).all()
    assert ratio[0] < 0.6
    assert ratio[-1] > 0.71
    flagged = [
        float((one["flags"] & np.uint32(Flag.POPULATION_LABEL) != 0).mean())
        for one in found.values()
    ]
    assert flagged[0] < flagged[-1]
    assert flagged[-1] > 0.8
