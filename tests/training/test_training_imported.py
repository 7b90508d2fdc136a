"""Networks of Keras as packages: their own answers, with errors that hold for labelled stars."""

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
import yaml
from model.imported_networks import network_of
from model.keras_models import dense, entry, rave_like, save_h5, save_keras
from typer.testing import CliRunner

from distcnn.arrays import Array
from distcnn.cli import app
from distcnn.config import load_config
from distcnn.errors import ConfigError, InputError, TrainingError, UsageError
from distcnn.model import Ensemble, Package, star_inputs
from distcnn.survey import Region, Store
from distcnn.training import import_package
from tests.commands import done

PIXELS, STARS = 40, 2400
NOISE = np.array([60.0, 0.12, 0.05])
"""Standard deviation of the reference labels from what the networks say."""
LIMITS = {"teff": (4000.0, 7000.0), "logg": (0.0, 5.0), "mh": (-2.0, 0.5)}
SCALARS = {"G": (-4.0, 10.0, True), "J": (-5.0, 8.0, True), "AV": (0.0, 3.0, False)}
SETTINGS = {
    "imported": {
        "outputs": [{"label": k, "low": low, "high": high} for k, (low, high) in LIMITS.items()],
        "scalars": [
            {"band": k, "low": low, "high": high, "absolute": absolute}
            for k, (low, high, absolute) in SCALARS.items()
        ],
    },
    "ingest": {
        "survey": "rave_like",
        "release": "one",
        "spectra": {"reader": "table", "files": "*.parquet"},
        "source": {
            "reader": "table",
            "files": "*.parquet",
            "columns": {"photometry": list(SCALARS), "parallax": "parallax"},
        },
        "bands": list(SCALARS),
        "xp": None,
        "labels": {"reader": "table", "files": "*.parquet", "labels": list(LIMITS)},
        "grid": {"start": 8410.0, "step": 9.6, "size": PIXELS, "unit": "Angstrom"},
        "prepare": {"outlier_sigma": None},
        "store": {"chunk_stars": 256, "shard_stars": 1024, "flux_encoding": "float32"},
    },
    "train": {"split": {"train": 0.4, "validation": 0.1, "calibration": 0.25}},
    "predict": {"engine": "eager"},
    "cluster": {"backend": "serial"},
}


def original(files, flux, scalars) -> Array:
    """Labels [M,N,L] as the notebook of the network computes them from its own inputs."""
    low, high = np.array(list(LIMITS.values())).T
    with torch.inference_mode():
        each = [network_of(file, 3)(torch.tensor(flux), torch.tensor(scalars)) for file in files]
    return low + (high - low) * np.stack([values.numpy() for values in each])


def write_archive(folder, files, *, start=1, stars=STARS, labelled=True):
    """Stars with all that the networks take, and labels that scatter around what they say."""
    rng = np.random.default_rng(start)
    flux = (1 + rng.normal(0, 0.05, (stars, PIXELS))).astype("f4")
    low, high, absolute = np.array(list(SCALARS.values())).T
    scalars = rng.uniform(0.1, 0.9, (stars, 3))
    parallax = rng.uniform(0.3, 5, stars)
    apparent = low + (high - low) * scalars
    apparent -= absolute * 5 * (np.log10(parallax / 1000) + 1)[:, None]
    truth = original(files, flux, scalars.astype("f4")).mean(axis=0)
    columns = {
        "source_id": np.arange(start, start + stars) * 1000,
        "ra": rng.uniform(0, 360, stars),
        "dec": rng.uniform(-90, 90, stars),
        "snr": rng.uniform(20, 80, stars),
        "parallax": parallax,
        "parallax_error": 0.01 * parallax,
        **dict(zip(SCALARS, apparent.T, strict=True)),
        "flux": list(flux),
        "flux_error": list(np.full_like(flux, 0.05)),
    }
    if labelled:
        labels = truth + rng.normal(0, 1, truth.shape) * NOISE
        columns |= dict(zip(LIMITS, labels.T, strict=True))
    folder.mkdir()
    pq.write_table(pa.table(columns), folder / "stars.parquet")
    return truth


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Two members of the same layers, one in each layout."""
    folder, members = tmp_path_factory.mktemp("keras"), []
    for number, (save, suffix) in enumerate([(save_h5, ".h5"), (save_keras, ".keras")]):
        layers = rave_like(PIXELS)
        rng = np.random.default_rng(7)
        for layer in layers:
            smaller = [0.6 * rng.normal(0, w.shape[0] ** -0.5, w.shape) for w in layer.weights]
            little = np.random.default_rng(number)
            layer.weights = [w + 0.01 * little.normal(0, 1, w.shape) for w in smaller]
        members.append(save(folder / f"member_{number}{suffix}", layers))
    return members


@pytest.fixture(scope="module")
def site(tmp_path_factory, files):
    """Settings, a labelled survey, and the package made of both files."""
    folder = tmp_path_factory.mktemp("site")
    conf = folder / "my.yaml"
    conf.write_text(yaml.safe_dump(SETTINGS))
    write_archive(folder / "labelled", files)
    done("ingest", folder / "labelled", folder / "labelled.zarr", "--conf", conf)
    asked = ("--survey", folder / "labelled.zarr", "--conf", conf)
    told = done("package", "import", folder / "package", *files, *asked)
    assert "trained on none of these labelled stars" in told
    return folder, conf


def test_the_package_says_what_the_networks_say(site, files):
    folder, _ = site
    package = Package.load(folder / "package")
    store = Store.open(folder / "labelled.zarr")
    rows = store.read(Region(0, 500))
    stars = star_inputs(rows, package.spec, store.coordinate("band"))
    low, high, absolute = np.array(list(SCALARS.values())).T
    values = rows["photometry"].astype("f8")
    values += absolute * 5 * (np.log10(np.maximum(rows["parallax"] / 1000, 1e-4)) + 1)[:, None]
    expected = original(files, rows["flux"], ((values - low) / (high - low)).astype("f4"))
    met = Ensemble(package).predict(stars)
    size = np.array([high - low for low, high in LIMITS.values()])
    np.testing.assert_allclose(met.label / size, expected.mean(axis=0) / size, atol=1e-5)
    np.testing.assert_allclose(met.scatter / size, expected.std(0, ddof=1) / size, atol=1e-5)


def test_quoted_errors_are_the_scatter_of_the_labelled_stars(site, files):
    folder, conf = site
    write_archive(folder / "new", files, start=10**6, stars=600, labelled=False)
    done("ingest", folder / "new", folder / "new.zarr", "--conf", conf)
    done("predict", folder / "package", folder / "new.zarr", folder / "p.zarr", "--conf", conf)
    assert "is sound" in done("verify", folder / "p.zarr")
    store = Store.open(folder / "p.zarr")
    found = store.read(Region(0, store.stars))
    assert (found["flags"] == 0).mean() > 0.8
    np.testing.assert_allclose(np.median(found["label_error"], axis=0), NOISE, rtol=0.2)
    done("export", folder / "p.zarr", folder / "c.fits")


def test_missing_inputs_are_flagged_and_answered_finitely(site):
    folder, _ = site
    package = Package.load(folder / "package")
    fixtures = package.fixtures()
    assert np.isfinite(fixtures.mean).all()
    assert Ensemble(package, "torchscript").parity().rms < 1e-3


def test_inspect_tells_where_it_is_from(site, files):
    folder, _ = site
    told = done("inspect", folder / "package")
    assert "networks of Keras" in told
    for file in files:
        assert file.name in told
    assert "learning_rate" not in told


def imported(folder, files, package="other", **changes):
    config = load_config(folder / "my.yaml")
    meaning = config.imported.model_copy(update=changes)
    return import_package(
        folder / package,
        files,
        folder / "labelled.zarr",
        meaning,
        train=config.train,
        quality=config.quality,
    )


def test_the_same_files_and_stars_give_the_same_package(site, files):
    folder, _ = site
    again = imported(folder, files, "again")
    assert again.digest == Package.load(folder / "package").digest
    with pytest.raises(UsageError, match="exists"):
        imported(folder, files, "again")


def test_an_output_without_a_label_is_left_out(site, files):
    folder, _ = site
    outputs = SETTINGS["imported"]["outputs"]
    config = load_config(folder / "my.yaml").imported
    kept = [config.outputs[0].model_copy(update={"label": None}), *config.outputs[1:]]
    made = imported(folder, files[:1], "fewer", outputs=tuple(kept))
    package, whole = Package.load(made.package), Package.load(folder / "package")
    assert package.labels == tuple(entry["label"] for entry in outputs[1:])
    stars = package.fixtures().stars.tensors()
    fewer, all_of_them = (one.members()[0](stars)[0].numpy() for one in (package, whole))
    np.testing.assert_allclose(fewer, all_of_them[:, 1:], rtol=1e-5)


def test_stars_that_it_was_trained_on_are_not_taken_for_new_ones(site, files, tmp_path):
    folder, _ = site
    table = tmp_path / "trained.csv"
    table.write_text("source_id\n" + "\n".join(str(1000 * n) for n in range(1, 101)) + "\n")
    with pytest.raises(TrainingError, match=r"of 1\d+ labelled stars .* are in trained\.csv"):
        imported(folder, files, trained_on=table)
    table.write_text("source_id\n7\n")
    assert imported(folder, files, "apart", trained_on=table).members == 2
    table.write_text("star\n7\n")
    with pytest.raises(ConfigError, match="has the columns star"):
        imported(folder, files, trained_on=table)


def test_labels_without_reference_values_can_be_left_out(site, files):
    folder, _ = site
    outputs = load_config(folder / "my.yaml").imported.outputs
    other = (*outputs[:2], outputs[2].model_copy(update={"label": "feh"}))
    with pytest.raises(TrainingError, match=r"no label feh.*label: null"):
        imported(folder, files, outputs=other)


def test_an_imported_ensemble_is_no_teacher(site):
    folder, conf = site
    asked = ("--survey", folder / "labelled.zarr", "--conf", conf)
    told = CliRunner().invoke(
        app, list(map(str, ("distil", folder / "package", folder / "small", *asked)))
    )
    assert told.exit_code == 1
    assert "was trained elsewhere" in told.output


def test_the_report_and_the_comparison_take_the_package(site):
    folder, conf = site
    survey, conf = folder / "labelled.zarr", ("--conf", conf)
    done("predict", folder / "package", survey, folder / "own.zarr", *conf)
    asked = ("--package", folder / "package", "--methods", "ridge,cannon")
    done("compare", survey, folder / "b.parquet", *asked, *conf)
    done("report", folder / "own.zarr", folder / "page", "--sections", "summary,errors", *conf)
    assert (folder / "page" / "index.html").exists()


@pytest.mark.parametrize(
    ("changes", "kind", "message"),
    [
        ({"outputs": ()}, ConfigError, "imported.outputs is empty.*rave2020_keras"),
        ({"scalars": ()}, InputError, r"takes input_1 \[40\], input_2 \[3\].*one spectrum"),
    ],
)
def test_settings_that_do_not_fit_the_network_are_refused(site, files, changes, kind, message):
    folder, _ = site
    with pytest.raises(kind, match=message):
        imported(folder, files, **changes)
    assert not (folder / "other").exists()


def test_a_network_that_does_not_fit_the_survey_or_the_others_is_refused(site, files, tmp_path):
    folder, _ = site
    short = save_h5(tmp_path / "short.h5", rave_like(30))
    with pytest.raises(InputError, match=r"short\.h5 has other layers than .*member_0\.h5"):
        imported(folder, [files[0], short])
    with pytest.raises(TrainingError, match="spectra of 40 pixels: expected 30"):
        imported(folder, [short])
    few = save_h5(tmp_path / "few.h5", rave_like(PIXELS, labels=2))
    with pytest.raises(ConfigError, match=r"gives 2 numbers, imported\.outputs names 3"):
        imported(folder, [few])
    alone = save_h5(tmp_path / "alone.h5", [entry("in", PIXELS), dense("d", "in", 1, 1)])
    with pytest.raises(InputError, match=r"alone\.h5: "):
        imported(folder, [alone])


def test_limits_of_the_preset_are_those_of_the_published_training_stars(real_data):
    table = real_data / "rave_apogee" / "rave_apogee_train_3669.csv"
    if not table.exists():
        pytest.skip(f"{table.name} is missing in DISTCNN_DATA")
    stars = np.genfromtxt(table, delimiter=",", names=True, dtype=None, encoding="utf-8")
    config = load_config("rave2020_keras")
    columns = dict(
        zip(config.ingest.bands, config.ingest.source.columns["photometry"], strict=True)
    )
    parallax = np.maximum(stars["parallax"] / 1000, config.imported.least_parallax)
    for scalar in config.imported.scalars:
        values = stars[columns[scalar.band]].astype("f8")
        values += scalar.absolute * 5 * (np.log10(parallax) + 1)
        limits = (scalar.low, scalar.high)
        np.testing.assert_allclose((values.min(), values.max()), limits, atol=2e-6)
    for output in config.imported.outputs:
        values = stars[config.ingest.labels.columns[output.label]]
        np.testing.assert_allclose((values.min(), values.max()), (output.low, output.high), 1e-6)
