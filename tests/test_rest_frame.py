"""Moving stars through all commands: shifted, trained on, predicted, with velocities at the end."""

import copy

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from astropy.table import Table

from distcnn.model import Package
from distcnn.schema import LIGHT_SPEED_KM_S
from tests.commands import distcnn, done

PIXELS = 120
SETTINGS = {
    "ingest": {
        "survey": "moving",
        "release": "one",
        "spectra": {
            "reader": "table",
            "files": "spectra.parquet",
            "columns": {"source_id": "star", "velocity": "rv", "velocity_error": "rv_error"},
        },
        "source": None,
        "source_required": False,
        "xp": None,
        "labels": {
            "reader": "table",
            "files": "labels.csv",
            "labels": ["teff"],
            "columns": {"source_id": "star"},
        },
        "grid": {"start": 500.0, "step": 0.1, "size": PIXELS, "frame": "barycentric"},
        "prepare": {
            "target": {"start": 501.5, "step": 0.1, "size": 90},
            "rest_frame": {"velocity": "spectra"},
        },
        "store": {"chunk_stars": 64, "shard_stars": 256},
    },
    "train": {"members": 1, "epochs": 1, "batch": 64, "network": {"width": 8, "hidden": 8}},
    "cluster": {"backend": "serial"},
    "predict": {"engine": "eager"},
}


def write_archive(folder, first, stars, *, labelled):
    rng = np.random.default_rng(first)
    folder.mkdir()
    teff, velocity = rng.uniform(4500, 6500, stars), rng.uniform(-400, 400, stars)
    wavelength = 500 + 0.1 * np.arange(PIXELS)
    centre = 506.0 * (1 + velocity / LIGHT_SPEED_KM_S)
    line = np.exp(-0.5 * ((wavelength - centre[:, None]) / 0.4) ** 2)
    flux = 1 - 0.4 * ((teff - 4000) / 3000)[:, None] * line
    flux += 0.01 * rng.standard_normal(flux.shape)
    columns = {
        "star": first + np.arange(stars),
        "flux": flux.tolist(),
        "flux_error": np.full(flux.shape, 0.01).tolist(),
        "rv": velocity,
        "rv_error": np.full(stars, 0.7),
    }
    pq.write_table(pa.table(columns), folder / "spectra.parquet")
    if labelled:
        rows = [f"{first + n},{t:.1f},50" for n, t in enumerate(teff)]
        (folder / "labels.csv").write_text("\n".join(["star,teff,teff_error", *rows, ""]))
    return velocity


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """A folder with a configuration, and a package trained on stars brought to rest."""
    folder = tmp_path_factory.mktemp("site")
    conf = folder / "my.yaml"
    conf.write_text(yaml.safe_dump(SETTINGS))
    write_archive(folder / "old", 1, 400, labelled=True)
    done("ingest", folder / "old", folder / "old.zarr", "--conf", conf)
    done("train", folder / "old.zarr", folder / "package", "--conf", conf)
    return folder, conf


def test_velocities_stand_in_predictions_and_in_every_catalogue(site):
    folder, conf = site
    velocity = write_archive(folder / "new", 1001, 30, labelled=False)
    done("ingest", folder / "new", folder / "new.zarr", "--conf", conf)
    done("predict", folder / "package", folder / "new.zarr", folder / "p.zarr", "--conf", conf)
    for suffix, form in ((".fits", "fits"), (".vot", "votable")):
        done("export", folder / "p.zarr", folder / f"c{suffix}")
        table = Table.read(folder / f"c{suffix}", format=form)
        np.testing.assert_allclose(table["velocity"], velocity, rtol=1e-6)
        np.testing.assert_allclose(table["velocity_error"], 0.7, rtol=1e-6)
        assert str(table["velocity"].unit) == "km / s"
    done("export", folder / "p.zarr", folder / "c.parquet")
    found = pq.read_table(folder / "c.parquet")["velocity"].to_numpy()
    np.testing.assert_allclose(found, velocity, rtol=1e-6)


def test_a_package_of_stars_at_rest_says_so_and_refuses_stars_that_are_not(site):
    folder, _ = site
    assert Package.load(folder / "package").manifest.survey.frame == "stellar rest"
    settings = copy.deepcopy(SETTINGS)
    settings["ingest"]["prepare"]["rest_frame"] = None
    settings["ingest"]["spectra"]["columns"] = {"source_id": "star"}
    other = folder / "other.yaml"
    other.write_text(yaml.safe_dump(settings))
    write_archive(folder / "as_observed", 3001, 30, labelled=False)
    done("ingest", folder / "as_observed", folder / "as_observed.zarr", "--conf", other)
    result = distcnn(
        *("predict", folder / "package", folder / "as_observed.zarr", folder / "no.zarr"),
        *("--conf", other),
    )
    assert result.exit_code == 1
    told = " ".join((str(result.exception) + result.output).split())
    assert "frame 'barycentric'" in told
    assert "frame 'stellar rest', as in training" in told
