import json

import numpy as np
import pytest

from distcnn.config import NetworkConfig
from distcnn.errors import GridMismatch, PackageError, TrainingError
from distcnn.model import InputSpec, grid_digest, star_inputs
from distcnn.schema import SURVEY_VARIABLES
from distcnn.survey import Coordinate, Layout, create_store

GRID = np.linspace(846, 870, 20)


def make_survey(path, variables=("flux", "xp", "photometry", "parallax", "label"), grid=GRID):
    names = ("source_id", "snr", *variables, *(["label_error"] if "label" in variables else []))
    coordinates = {
        "band": Coordinate("band", np.array(["g", "bp", "rp"])),
        "label": Coordinate("label", np.array(["teff", "logg"])),
        "wavelength": Coordinate("pixel", grid),
    }
    sizes = {"star": 8, "pixel": len(grid), "coefficient": 6, "band": 3, "label": 2}
    table = tuple(SURVEY_VARIABLES[name] for name in names)
    return create_store(path, Layout("survey", sizes, 4, 8, table, coordinates, {}))


@pytest.fixture
def store(tmp_path):
    return make_survey(tmp_path / "survey.zarr")


def test_a_spec_says_what_the_survey_offers(store):
    spec = InputSpec.of_survey(store, NetworkConfig())
    assert (spec.pixels, spec.coefficients, spec.bands) == (20, 6, ("g", "bp", "rp"))
    assert spec.astrometry
    assert spec.labels == ("teff", "logg")
    assert spec.wavelength_digest == grid_digest(GRID)
    assert set(spec.variables) >= {"flux", "xp", "photometry", "parallax", "parallax_error", "snr"}


def test_what_the_configuration_switches_off_has_width_zero(store):
    spec = InputSpec.of_survey(store, NetworkConfig(xp=False, photometry=False), ("logg",))
    assert (spec.coefficients, spec.bands, spec.astrometry) == (0, (), False)
    assert spec.variables == ("flux", "snr")
    assert spec.labels == ("logg",)


def test_a_photometric_survey_has_no_spectrum(tmp_path):
    store = make_survey(tmp_path / "s.zarr", ("photometry", "parallax", "label"))
    spec = InputSpec.of_survey(store, NetworkConfig())
    assert (spec.pixels, spec.coefficients, spec.wavelength_digest) == (0, 0, "")


def test_an_unknown_label_is_named(store):
    with pytest.raises(TrainingError, match=r"no label lithium: expected labels among teff, logg"):
        InputSpec.of_survey(store, NetworkConfig(), ("teff", "lithium"))


def test_a_survey_without_labels_cannot_be_trained_on(tmp_path):
    store = make_survey(tmp_path / "s.zarr", ("flux",))
    with pytest.raises(TrainingError, match="no label"):
        InputSpec.of_survey(store, NetworkConfig())


def test_a_network_that_uses_nothing_is_refused(tmp_path):
    store = make_survey(tmp_path / "s.zarr", ("flux", "label"))
    with pytest.raises(TrainingError, match="uses nothing"):
        InputSpec.of_survey(store, NetworkConfig(spectrum=False))


def test_a_spec_survives_json(store):
    spec = InputSpec.of_survey(store, NetworkConfig())
    assert InputSpec.from_json(json.loads(json.dumps(spec.to_json()))) == spec


def test_spectra_on_another_grid_are_refused(tmp_path, store):
    spec = InputSpec.of_survey(store, NetworkConfig())
    spec.check_survey(store)
    other = make_survey(tmp_path / "other.zarr", grid=GRID + 0.01)
    with pytest.raises(GridMismatch, match=r"20 pixels from 846\.01"):
        spec.check_survey(other)


def test_a_missing_band_is_named(store):
    spec = InputSpec(20, 6, ("g", "j"), True, grid_digest(GRID), ("teff",))
    with pytest.raises(PackageError, match="no band j"):
        spec.check_survey(store)


def test_a_modality_that_the_survey_lacks_counts_as_missing():
    spec = InputSpec(20, 6, ("g",), True, "", ("teff",))
    stars = star_inputs({"snr": np.ones(3, np.float32)}, spec)
    assert len(stars) == 3
    assert stars["flux"].shape == (3, 20)
    assert np.isnan(stars["flux"]).all()
    assert np.isnan(stars["astrometry"]).all()


def test_bands_are_found_by_name():
    spec = InputSpec(0, 0, ("rp", "g"), False, "", ("teff",))
    magnitudes = np.array([[1, 2, 3]], np.float32)
    stars = star_inputs({"photometry": magnitudes}, spec, ("g", "bp", "rp"))
    assert stars["photometry"].tolist() == [[3, 1]]
    with pytest.raises(PackageError, match="no band rp"):
        star_inputs({"photometry": magnitudes}, spec, ("g", "bp", "j"))


def test_another_width_is_refused():
    spec = InputSpec(20, 0, (), False, "", ("teff",))
    with pytest.raises(PackageError, match=r"\(2, 19\)"):
        star_inputs({"flux": np.ones((2, 19), np.float32)}, spec)


def test_batches_cover_every_star_once_and_in_order():
    spec = InputSpec(4, 0, (), False, "", ("teff",))
    flux = np.arange(28, dtype=np.float32).reshape(7, 4)
    stars = star_inputs({"flux": flux, "snr": np.ones(7, np.float32)}, spec)
    met = np.concatenate([batch["flux"].numpy() for batch in stars.batches(3)])
    np.testing.assert_array_equal(met, flux)
