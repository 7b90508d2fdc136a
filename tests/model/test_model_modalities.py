"""The table of modalities, and what a row added to it brings with it."""

import warnings
from dataclasses import replace

import numpy as np
import pytest
import torch

from distcnn import modalities
from distcnn.config import AugmentConfig, NetworkConfig
from distcnn.modalities import BUILT_IN, MODALITIES, missing_combinations, scalar
from distcnn.model import InputSpec, build_network, fit_scaling, inputs, star_inputs
from distcnn.quality import InputSummary, input_summary
from distcnn.schema import SURVEY_VARIABLES, Flag, Variable
from distcnn.survey import Coordinate, Layout, create_store

BANDS = ("g", "bp", "rp")
STARS, PIXELS = 64, 64


@pytest.fixture
def activity(monkeypatch):
    """A number per star, added to the table; it borrows settings, since it has none."""
    row = replace(scalar("activity", flag=Flag.NO_XP), switch="photometry", dropout="drop_xp")
    variable = Variable("activity", ("star",), "float32", "", "an index of activity")
    monkeypatch.setitem(SURVEY_VARIABLES, "activity", variable)
    for module in (modalities, inputs, input_summary):
        monkeypatch.setattr(module, "MODALITIES", (*MODALITIES, row))
    return row


@pytest.fixture
def arrays(rng):
    values = {
        "flux": rng.normal(1, 0.1, (STARS, PIXELS)),
        "xp": rng.normal(5, 1, (STARS, 10)),
        "photometry": rng.normal(11, 1, (STARS, 3)),
        "parallax": rng.normal(1, 1, STARS),
        "parallax_error": rng.uniform(0.01, 0.1, STARS),
        "snr": rng.uniform(15, 100, STARS),
        "activity": rng.uniform(5, 40, STARS),
    }
    values["activity"][::4] = np.nan
    return {name: array.astype(np.float32) for name, array in values.items()}


def test_names_flags_and_variables_are_told_once_and_known_to_the_schema():
    for values in (
        [row.name for row in MODALITIES],
        [name for row in MODALITIES for name in row.variables],
        [row.flag for row in MODALITIES if row.flag],
        [summary.name for row in MODALITIES for summary in row.summaries],
        [name for row in MODALITIES for name in row.features(BANDS)],
    ):
        assert len(set(values)) == len(values)
    assert {name for row in MODALITIES for name in row.variables} <= set(SURVEY_VARIABLES)


def test_switches_and_dropouts_are_settings():
    switches = {row.switch for row in MODALITIES if row.switch}
    dropouts = {row.dropout for row in MODALITIES if row.dropout}
    assert switches <= set(NetworkConfig.model_fields)
    assert dropouts <= set(AugmentConfig.model_fields)


def test_the_order_of_features_is_that_of_trained_weights():
    spec = InputSpec(PIXELS, 10, BANDS, True, "grid", ("teff",))
    assert spec.features == (
        *("valid_pixels", "log_snr", "has_snr", "xp_norm", "has_xp"),
        *("magnitude", "colour_bp", "colour_rp", "has_g", "has_bp", "has_rp"),
        *("parallax_snr", "log_parallax_error", "has_parallax", "luminosity", "asinh_luminosity"),
    )
    assert list(spec.widths) == list(BUILT_IN)
    assert spec.variables == ("flux", "xp", "photometry", "parallax", "parallax_error", "snr")


def test_combinations_of_missing_modalities_are_those_of_packages_of_format_2():
    assert missing_combinations()[:3] == ("no XP", "no parallax", "no XP, no parallax")


def test_a_scalar_of_the_survey_becomes_an_input_by_its_row(activity, arrays, tmp_path):
    names = ["source_id", "ra", "dec", *arrays, "label"]
    layout = Layout(
        kind="survey",
        sizes={"star": STARS, "pixel": PIXELS, "coefficient": 10, "band": 3, "label": 1},
        chunk_stars=STARS,
        shard_stars=STARS,
        variables=tuple(SURVEY_VARIABLES[name] for name in names),
        coordinates={
            "wavelength": Coordinate("pixel", np.linspace(846, 870, PIXELS)),
            "band": Coordinate("band", np.array(BANDS)),
            "label": Coordinate("label", np.array(["teff"])),
        },
        attrs={},
    )
    store = create_store(tmp_path / "survey.zarr", layout)
    spec = InputSpec.of_survey(store, NetworkConfig())
    assert spec.scalars == ("activity",)
    assert spec.features[-2:] == ("activity", "has_activity")
    assert "activity" in spec.variables
    assert InputSpec.from_json(spec.to_json()) == spec
    assert InputSpec.of_survey(store, NetworkConfig(photometry=False)).scalars == ()


def test_a_missing_scalar_is_its_median_with_an_indicator(activity, arrays):
    spec = InputSpec(PIXELS, 10, BANDS, True, "grid", ("teff",), ("activity",))
    stars = star_inputs(arrays, spec)
    network = build_network(spec, NetworkConfig(hidden=16), 0).eval()
    fit_scaling(network, stars, np.full((STARS, 1), 5000.0))
    with torch.no_grad():
        value, there = network.inputs(stars.tensors())["scalars"][:, -2:].T
    missing = ~np.isfinite(arrays["activity"])
    assert (value[missing] == 0).all()
    assert (value[~missing] != 0).any()
    np.testing.assert_array_equal(there.numpy(), ~missing)


def test_torchscript_takes_the_new_tensor_by_its_name(activity, arrays):
    spec = InputSpec(PIXELS, 10, BANDS, True, "grid", ("teff",), ("activity",))
    stars = star_inputs(arrays, spec)
    network = build_network(spec, NetworkConfig(hidden=16), 0).eval()
    fit_scaling(network, stars, np.full((STARS, 1), 5000.0))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        scripted = torch.jit.script(network)
    torch.testing.assert_close(scripted(stars.tensors()), network(stars.tensors()))


def test_quality_keeps_a_scalar_and_knows_who_lacks_it(activity, arrays):
    summary = InputSummary.of(arrays, STARS, None)
    np.testing.assert_array_equal(summary.get("activity"), arrays["activity"])
    missing = ~np.isfinite(arrays["activity"])
    np.testing.assert_array_equal(summary.lacks(activity), missing)
    number = 1 << sum(bool(row.lack) for row in MODALITIES)
    np.testing.assert_array_equal(summary.missing == number, missing)
    assert modalities.missing_combinations()[number - 1] == "no activity"
