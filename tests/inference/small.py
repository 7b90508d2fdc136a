"""A small survey, a package that fits it, and one way to predict."""

import shutil

import numpy as np

from distcnn.config import NetworkConfig, PredictConfig, QualityConfig
from distcnn.executor import SerialExecutor
from distcnn.inference import predict, predict_share
from distcnn.model import (
    Ensemble,
    InputSpec,
    build_network,
    fit_scaling,
    fixture_stars,
    star_inputs,
    write_package,
)
from distcnn.quality import Quality
from distcnn.schema import SURVEY_VARIABLES
from distcnn.survey import (
    STAR_KEY,
    Coordinate,
    Layout,
    Ledger,
    Quantised,
    Region,
    Share,
    create_store,
)

STARS, SHARD, CHUNK, PIXELS, XP = 150, 32, 8, 60, 6
LABELS = ("teff", "logg", "mh")
BANDS = ("g", "bp", "rp")
# On a busy machine an engine in bfloat16 may win the race, and tests compare labels more closely.
CONFIG = PredictConfig(batch=16, verify_sample=40, precision="float32")
NAMES = [
    "source_id",
    "ra",
    "dec",
    "flux",
    "flux_error",
    "snr",
    "xp",
    "photometry",
    "parallax",
    "parallax_error",
    "label",
    "label_error",
]


def make_survey(
    path, stars=STARS, seed=5, wavelength=(846.0, 870.0), bands=BANDS, names=NAMES, key=STAR_KEY
):
    rng = np.random.default_rng(seed)
    store = create_store(path, layout_of(stars, wavelength, bands, names, key))
    rows = make_rows(rng, stars)
    rows["photometry"] = rows["photometry"][:, [BANDS.index(b) if b in BANDS else 2 for b in bands]]
    for region in store.regions():
        store.write(region, {name: rows[name][region.slice] for name in names})
    store.annotate({"complete": True})
    return store


def layout_of(stars, wavelength=(846.0, 870.0), bands=BANDS, names=NAMES, key=STAR_KEY):
    return Layout(
        kind="survey",
        sizes={"star": stars, "pixel": PIXELS, "coefficient": XP, "band": 3, "label": len(LABELS)},
        chunk_stars=CHUNK,
        shard_stars=SHARD,
        variables=tuple(SURVEY_VARIABLES[name] for name in names),
        coordinates={
            "wavelength": Coordinate("pixel", np.linspace(*wavelength, PIXELS), {"unit": "nm"}),
            "band": Coordinate("band", np.array(bands)),
            "label": Coordinate("label", np.array(LABELS)),
        },
        attrs={"survey": "small", "release": "test", "complete": False},
        quantised={"flux": Quantised(1e-4, 1.0)},
        row_key=key,
    )


def make_rows(rng, stars):
    label = rng.normal((5000, 3, -0.3), (400, 0.8, 0.3), (stars, 3))
    depth = 0.2 + 0.1 * (label[:, 2:] + 0.3)
    line = np.exp(-(((np.arange(PIXELS) - 20) / 4) ** 2))
    flux = 1 - depth * line + rng.normal(0, 0.01, (stars, PIXELS))
    flux[rng.random(flux.shape) < 0.03] = np.nan
    xp = rng.normal(label[:, :1] / 1000, 0.1, (stars, XP))
    xp[::17] = np.nan
    rows = {
        "source_id": 10**15 + rng.permutation(stars) * 7,
        "ra": rng.uniform(0, 360, stars),
        "dec": rng.uniform(-90, 90, stars),
        "flux": flux,
        "flux_error": np.full((stars, PIXELS), 0.01),
        "snr": rng.uniform(15, 150, stars),
        "xp": xp,
        "photometry": rng.normal((11, 11.4, 10.5), 0.8, (stars, 3)),
        "parallax": rng.normal(1, 0.3, stars),
        "parallax_error": rng.uniform(0.01, 0.05, stars),
        "label": label,
        "label_error": np.full((stars, 3), 0.1),
    }
    return {name: v if v.dtype == np.int64 else v.astype(float) for name, v in rows.items()}


def make_package(path, store, members=2, seed=1, network=None, with_mh=None):
    """``with_mh``: calibration stars that have a reference [M/H]; None = all."""
    network = network or NetworkConfig(width=8, hidden=8)
    spec = InputSpec.of_survey(store, network)
    arrays = store.read(Region(0, store.stars))
    stars = star_inputs(arrays, spec)
    networks = [build_network(spec, network, seed + k) for k in range(members)]
    for one in networks:
        fit_scaling(one, stars, arrays["label"])
    package = _write(path, networks, spec, network, stars, {})
    prediction = Ensemble(package, "eager").predict(stars)
    names = ("flux", "flux_error", "xp", "photometry", "parallax", "snr")
    known = {name: arrays[name] for name in names if name in arrays}
    known |= {"reference": arrays["label"], "reference_error": arrays["label_error"]}
    if with_mh is not None:
        known["reference"] = known["reference"].copy()
        known["reference"][with_mh:, 2] = np.nan
    known |= prediction._asdict()
    quality = Quality.fit(known, known, QualityConfig(novelty_components=3), names=LABELS)
    shutil.rmtree(path)
    return _write(path, networks, spec, network, stars, quality.to_arrays())


def _write(path, networks, spec, network, stars, quality):
    return write_package(
        path,
        networks=networks,
        spec=spec,
        network_config=network,
        fixtures=fixture_stars(stars, 4),
        label_sigma=np.array([100.0, 0.2, 0.1])[: len(spec.labels)],
        quality_arrays=quality,
        curves=[{"seed": k} for k in range(len(networks))],
        manifest_extra={},
    )


def go(folder, config=CONFIG, executor=None, listener=None, **paths):
    """Predict in a folder made like ``made``."""
    at = {"package": folder / "package", "survey": folder / "survey.zarr"}
    at |= {"predictions": folder / "predictions.zarr", **paths}
    more = {} if listener is None else {"listener": listener}
    return predict(**at, config=config, executor=executor or SerialExecutor(), **more)


def go_share(folder, share, config=CONFIG, executor=None, **options):
    """Predict one element's share in a folder made like ``made``."""
    at = {"package": folder / "package", "survey": folder / "survey.zarr"}
    at |= {"predictions": folder / "predictions.zarr"}
    options = {"executor": executor or SerialExecutor(), **options}
    return predict_share(**at, config=config, share=Share.parse(share), **options)


def recorded(folder):
    """Digest of every region in the ledger of the predictions."""
    done = Ledger.read(folder / "predictions.zarr" / ".distcnn" / "ledger.jsonl").done
    return {name: line["digest"] for name, line in sorted(done.items())}
