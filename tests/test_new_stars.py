"""Stars with names, and stars without labels, by the same configuration, through all commands."""

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from astropy.table import Table

from tests.commands import distcnn, done

PIXELS = 64
SETTINGS = {
    "ingest": {
        "survey": "mine",
        "release": "one",
        "spectra": {
            "reader": "table",
            "files": "spectra.parquet",
            "columns": {"source_id": "star"},
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
        "grid": {"start": 846.0, "step": 0.1, "size": PIXELS},
        "store": {"chunk_stars": 64, "shard_stars": 256},
    },
    "train": {"members": 1, "epochs": 1, "batch": 64, "network": {"width": 8, "hidden": 8}},
    "cluster": {"backend": "serial"},
    "predict": {"engine": "eager"},
}


def write_archive(folder, first, stars, labelled=0):
    """Spectra with a line that weakens with temperature; some stars have a row of labels."""
    rng = np.random.default_rng(first)
    folder.mkdir()
    teff = rng.uniform(4500, 6500, stars)
    line = np.exp(-0.5 * ((np.arange(PIXELS) - 30) / 4) ** 2)
    flux = 1 - 0.4 * ((teff - 4000) / 3000)[:, None] * line
    flux += 0.01 * rng.standard_normal(flux.shape)
    names = [f"HD {first + number}" for number in range(stars)]
    columns = {
        "star": names,
        "flux": flux.tolist(),
        "flux_error": np.full(flux.shape, 0.01).tolist(),
    }
    pq.write_table(pa.table(columns), folder / "spectra.parquet")
    if labelled:
        rows = [f"{name},{t:.1f},50" for name, t in zip(names, teff, strict=True)][:labelled]
        (folder / "labels.csv").write_text("\n".join(["star,teff,teff_error", *rows, ""]))
    return names


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """A folder with a configuration, and a package trained on stars with names."""
    folder = tmp_path_factory.mktemp("site")
    conf = folder / "my.yaml"
    conf.write_text(yaml.safe_dump(SETTINGS))
    names = write_archive(folder / "old", 1, 400, labelled=400)
    done("ingest", folder / "old", folder / "old.zarr", "--conf", conf)
    done("train", folder / "old.zarr", folder / "package", "--conf", conf)
    return folder, conf, names


def names_in(path):
    if path.suffix == ".parquet":
        found = pq.read_table(path)["name"].to_pylist()
    else:
        form = "votable" if path.suffix == ".vot" else "fits"
        found = list(Table.read(path, format=form)["name"])
    return [name.decode() if isinstance(name, bytes) else str(name) for name in found]


def test_names_stay_with_their_stars_from_survey_to_every_catalogue(site):
    folder, conf, names = site
    done("predict", folder / "package", folder / "old.zarr", folder / "p.zarr", "--conf", conf)
    for suffix in (".fits", ".parquet", ".vot"):
        done("export", folder / "p.zarr", folder / f"c{suffix}")
        assert names_in(folder / f"c{suffix}") == names


def test_the_configuration_of_the_training_survey_ingests_and_predicts_new_stars(site):
    folder, conf, _ = site
    names = write_archive(folder / "new", 1001, 30)
    told = done("ingest", folder / "new", folder / "new.zarr", "--conf", conf)
    assert "The stars get no labels: no file below" in told
    assert "labels.csv" in told
    done("predict", folder / "package", folder / "new.zarr", folder / "n.zarr", "--conf", conf)
    for suffix in (".fits", ".parquet", ".vot"):
        done("export", folder / "n.zarr", folder / f"n{suffix}")
        assert names_in(folder / f"n{suffix}") == names
    table = Table.read(folder / "n.fits")
    assert len(table) == 30
    assert np.isfinite(np.asarray(table["teff"])).all()


@pytest.mark.parametrize("labelled", [1, 50])
def test_few_labels_are_enough_or_refused_before_anything_is_trained(site, labelled):
    folder, conf, _ = site
    write_archive(folder / f"few{labelled}", 1, 400, labelled=labelled)
    survey, package = folder / f"few{labelled}.zarr", folder / f"package{labelled}"
    done("ingest", folder / f"few{labelled}", survey, "--conf", conf)
    result = distcnn("train", survey, package, "--conf", conf)
    if labelled == 50:
        assert result.exit_code == 0, result.output
        assert "train 30, validation 4, calibration 6, test 10" in result.output
        return
    assert result.exit_code == 1
    assert "has no labelled star in train, calibration" in str(result.exception) + result.output
    assert not package.exists()
