import io
import json
import os
import subprocess
import sys
import warnings

import numpy as np
import pytest
import torch

from distcnn.config import NetworkConfig
from distcnn.errors import DigestMismatch, PackageError
from distcnn.model import (
    Ensemble,
    InputSpec,
    Package,
    build_network,
    fit_scaling,
    fixture_stars,
    star_inputs,
    write_evaluation,
    write_package,
)
from distcnn.model.ensemble import sequential_layers
from distcnn.model.package import torchscript

LABELS = ("teff", "logg", "mh")
SPEC = InputSpec(64, 10, ("g", "bp", "rp"), True, "grid", LABELS)
CONFIG = NetworkConfig(hidden=16, width=16)


def make_stars(rng, stars=40, spec=SPEC):
    arrays = {
        "flux": rng.normal(1, 0.1, (stars, 64)),
        "xp": rng.normal(5, 1, (stars, 10)),
        "photometry": rng.normal(11, 1, (stars, 3)),
        "parallax": rng.normal(1, 1, stars),
        "parallax_error": rng.uniform(0.01, 0.1, stars),
        "snr": rng.uniform(15, 100, stars),
    }
    return star_inputs({k: v.astype(np.float32) for k, v in arrays.items()}, spec)


@pytest.fixture
def rng():
    return np.random.default_rng(7)


@pytest.fixture
def stars(rng):
    return make_stars(rng)


@pytest.fixture
def ingredients(rng, stars):
    y = rng.normal((5000, 3, -0.2), (500, 1, 0.3), (len(stars), 3))
    networks = [build_network(SPEC, CONFIG, seed) for seed in (1, 2, 3)]
    for network in networks:
        fit_scaling(network, stars, y)
    return {
        "networks": networks,
        "spec": SPEC,
        "network_config": CONFIG,
        "fixtures": fixture_stars(stars, 4),
        "label_sigma": np.array([100.0, 0.2, 0.1]),
        "quality_arrays": {"limits.label": np.ones((3, 2))},
        "curves": [{"seed": k, "epochs": [[1.0, 2.0]], "best": 0} for k in (1, 2, 3)],
        "manifest_extra": {"survey": {"release": "DR3"}},
    }


@pytest.fixture
def package(tmp_path, ingredients):
    return write_package(tmp_path / "package", **ingredients)


def test_a_package_comes_back_as_it_was_written(package, ingredients, stars):
    again = Package.load(package.path)
    assert again.digest == package.digest
    assert again.spec == SPEC
    assert again.labels == LABELS
    assert again.manifest.survey.release == "DR3"
    assert again.manifest.labels[0].unit == "K"
    assert again.curves[1]["epochs"] == [[1.0, 2.0]]
    np.testing.assert_array_equal(again.quality_arrays["limits.label"], np.ones((3, 2)))
    for network, wanted in zip(again.networks(), ingredients["networks"], strict=True):
        torch.testing.assert_close(network(stars.tensors()), wanted(stars.tensors()))


def test_the_same_ingredients_give_the_same_package(tmp_path, package, ingredients):
    again = write_package(tmp_path / "again", **ingredients)
    assert again.digest == package.digest


def test_torchscript_is_the_same_in_every_process():
    code = (
        "from distcnn.config import NetworkConfig; from distcnn.model import InputSpec\n"
        "from distcnn import hashing\n"
        "from distcnn.model import build_network\n"
        "from distcnn.model.package.torchscript import dumped\n"
        "spec = InputSpec(60, 0, ('g',), True, '', ('teff', 'mh'))\n"
        "print(hashing.of_bytes(dumped(build_network(spec, NetworkConfig(), 0).eval())))\n"
    )
    found = {
        subprocess.run(
            [sys.executable, "-W", "ignore", "-c", code],
            env={**os.environ, "PYTHONHASHSEED": seed},
            check=True,
            capture_output=True,
        ).stdout
        for seed in ("1", "2", "3")
    }
    assert len(found) == 1


def test_torchscript_and_eager_agree_and_pass_their_own_fixtures(package, stars):
    eager, scripted = Ensemble(package, "eager"), Ensemble(package, "torchscript")
    assert eager.parity().rms <= 1e-6
    assert scripted.parity().rms <= 1e-4
    for one, other in zip(eager.predict(stars), scripted.predict(stars, batch=7), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4)


def test_the_ensemble_is_the_mean_and_spread_of_its_members(package, stars):
    prediction = Ensemble(package).predict(stars, batch=16)
    pairs = [member(stars.tensors()) for member in package.members("torchscript")]
    mean = np.stack([pair[0].numpy() for pair in pairs])
    sigma = np.stack([pair[1].numpy() for pair in pairs])
    np.testing.assert_allclose(prediction.label, mean.mean(0), rtol=1e-5)
    np.testing.assert_allclose(prediction.scatter, mean.std(0, ddof=1), rtol=1e-2)
    np.testing.assert_allclose(prediction.noise, np.sqrt((sigma**2).mean(0)), rtol=1e-4)


def test_a_single_member_has_no_scatter(tmp_path, ingredients, stars):
    one = {**ingredients, "networks": ingredients["networks"][:1]}
    package = write_package(tmp_path / "one", **(one | {"curves": one["curves"][:1]}))
    assert not Ensemble(package).predict(stars).scatter.any()


def test_no_star_gives_no_prediction(package, stars):
    assert Ensemble(package).predict(stars.take(slice(0, 0))).label.shape == (0, 3)


def test_fixtures_hold_stars_without_each_input_and_without_any(package):
    stars, mean, sigma, correlation = package.fixtures()
    assert mean.shape == sigma.shape == correlation.shape == (3, len(stars), 3)
    assert np.isfinite(mean).all()
    everything = [~np.isfinite(array).any(1) for array in stars.arrays.values()]
    assert np.logical_and.reduce(everything).any()


@pytest.mark.parametrize(
    "name", ["members/member_01.ts.pt", "members/member_00.safetensors", "quality.safetensors"]
)
def test_one_changed_byte_is_found_before_anything_is_loaded(package, name):
    path = package.path / name
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    with pytest.raises(DigestMismatch, match=name.rsplit("/")[-1]):
        Package.load(package.path)


def test_an_unverified_package_still_refuses_to_run_a_changed_member(package):
    (package.path / "members/member_00.ts.pt").write_bytes(b"other")
    with pytest.raises(DigestMismatch):
        Package.load(package.path, verify=False).members("torchscript")


def test_a_missing_file_is_a_digest_error(package):
    (package.path / "curves.json").unlink()
    with pytest.raises(DigestMismatch, match="gone"):
        Package.load(package.path)


def test_another_manifest_is_another_digest(package):
    path = package.path / "manifest.json"
    path.write_text(path.read_text().replace("DR3", "DR4"))
    assert Package.load(package.path).digest != package.digest


def test_a_folder_that_is_no_package_is_said_to_be_none(tmp_path):
    with pytest.raises(PackageError, match="not a package"):
        Package.load(tmp_path)


def test_a_package_of_another_format_is_refused(package):
    path = package.path / "manifest.json"
    path.write_text(json.dumps(package.manifest.to_json() | {"format": 99}))
    with pytest.raises(PackageError, match="format 99"):
        Package.load(package.path)


def test_weights_of_another_network_are_refused(package):
    manifest = package.manifest.to_json()
    manifest["network"] = manifest["network"] | {"hidden": 32}
    (package.path / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(PackageError, match="does not fit"):
        Package.load(package.path).networks()


def test_a_file_outside_the_manifest_is_not_read(package):
    with pytest.raises(PackageError, match="no file"):
        package.read("evaluation.json")


def test_an_existing_path_is_never_overwritten(package, ingredients):
    with pytest.raises(PackageError, match="exists"):
        write_package(package.path, **ingredients)


def test_members_that_scale_differently_make_no_package(tmp_path, ingredients, rng):
    fit_scaling(ingredients["networks"][0], make_stars(rng), np.zeros((40, 3)))
    with pytest.raises(PackageError, match="different scalings"):
        write_package(tmp_path / "other", **ingredients)


def test_a_network_that_gives_nan_makes_no_package(tmp_path, ingredients):
    with torch.no_grad():
        ingredients["networks"][0].layers.mean.bias[0] = float("nan")
    with pytest.raises(PackageError, match="not finite"):
        write_package(tmp_path / "other", **ingredients)


def test_a_network_that_is_not_itself_fails_its_parity(package):
    members = package.networks()
    with torch.no_grad():
        members[1].layers.mean.bias += 0.5
    assert Ensemble(package, sequential_layers(members)).parity().rms > 0.01


def test_the_evaluation_leaves_the_digest_alone(package):
    assert package.evaluation == {}
    write_evaluation(package, {"teff": 1.0})
    again = Package.load(package.path)
    assert again.digest == package.digest
    assert again.evaluation == {"package": package.digest, "teff": 1.0}


def test_no_file_of_a_package_names_a_folder_of_this_machine(package):
    here = str(torch.__file__).encode().rsplit(b"/", 2)[0]
    for name in package.manifest.files:
        assert here not in package.read(name)


class InputsByPosition(torch.nn.Module):
    """The scaling as packages had it before tensors travelled by name."""

    def __init__(self, scaling):
        super().__init__()
        self.scaling = scaling

    def forward(
        self,
        flux: torch.Tensor,
        xp: torch.Tensor,
        photometry: torch.Tensor,
        astrometry: torch.Tensor,
        snr: torch.Tensor,
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        stars = {"flux": flux, "xp": xp, "photometry": photometry}
        stars["astrometry"], stars["snr"] = astrometry, snr
        scaled = self.scaling(stars)
        return scaled["spectrum"], scaled["xp"], scaled["scalars"]


class LayersByPosition(torch.nn.Module):
    def __init__(self, layers):
        super().__init__()
        self.layers = layers

    def forward(
        self, spectrum: torch.Tensor, xp: torch.Tensor, scalars: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        return self.layers({"spectrum": spectrum, "xp": xp, "scalars": scalars})


class NetworkByPosition(torch.nn.Module):
    def __init__(self, network):
        super().__init__()
        self.inputs = InputsByPosition(network.inputs)
        self.layers = LayersByPosition(network.layers)
        self.labels = network.labels

    def forward(
        self,
        flux: torch.Tensor,
        xp: torch.Tensor,
        photometry: torch.Tensor,
        astrometry: torch.Tensor,
        snr: torch.Tensor,
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        spectrum, coefficients, scalars = self.inputs(flux, xp, photometry, astrometry, snr)
        mean, sigma, correlation = self.layers(spectrum, coefficients, scalars)
        label, noise = self.labels(mean, sigma)
        return label, noise, correlation


def test_torchscript_of_older_packages_is_called_by_name_too(package):
    network, stars = package.networks()[0], package.fixtures().stars.tensors()
    stream = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        torch.jit.save(torch.jit.script(NetworkByPosition(network).eval()), stream)
    older = torchscript.loaded(stream.getvalue(), "cpu")
    newer = torchscript.loaded(torchscript.dumped(network), "cpu")
    assert isinstance(older, torchscript.PositionalNetwork)
    assert not isinstance(newer, torchscript.PositionalNetwork)
    with torch.no_grad():
        for member in (older, newer):
            torch.testing.assert_close(member(stars), network(stars))
            scaled = member.inputs(stars)
            torch.testing.assert_close(scaled, network.inputs(stars))
            torch.testing.assert_close(member.layers(scaled), network.layers(scaled))
            sigma = torch.ones(1, len(package.labels))
            torch.testing.assert_close(member.labels(sigma, sigma), network.labels(sigma, sigma))
