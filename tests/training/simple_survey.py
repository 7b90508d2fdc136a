"""A small survey with a known answer: a few lines whose depths follow the labels."""

import numpy as np

from distcnn.schema import SURVEY_VARIABLES
from distcnn.survey import Coordinate, Layout, create_store

LABELS = ("teff", "logg", "mh")
PIXELS = 64
CONDITIONS = {"medium": "vacuum", "frame": "stellar rest", "normalisation": "none"}


def simple_stars(stars, seed=3):
    rng = np.random.default_rng(seed)
    teff = rng.uniform(4000, 6500, stars)
    logg = rng.uniform(0.5, 4.8, stars)
    mh = rng.normal(-0.3, 0.4, stars)
    snr = rng.uniform(15, 100, stars)
    place = np.arange(PIXELS)
    lines = [np.exp(-((place - at) ** 2) / 4.0) for at in (10, 22, 40, 55)]
    depth = np.stack([0.4 + 0.2 * mh, 0.3 - 0.1 * (teff - 5200) / 1000, 0.05 * logg, 0.1 + 0 * mh])
    flux = 1 - depth.T @ np.stack(lines) + rng.normal(0, 1, (stars, PIXELS)) / snr[:, None]
    flux[rng.random((stars, PIXELS)) < 0.01] = np.nan
    distance = rng.uniform(0.2, 2, stars)
    magnitude = 5 - 1.2 * (logg - 4.4) * -2 + 5 * np.log10(distance * 100)
    colour = 1.5 - (teff - 4000) / 2500
    error = np.tile(np.array([25.0, 0.04, 0.02]), (stars, 1))
    label = np.stack([teff, logg, mh], 1) + rng.normal(0, 1, (stars, 3)) * error
    label[rng.random((stars, 3)) < 0.05] = np.nan
    label[rng.random(stars) < 0.1] = np.nan
    arrays = {
        "source_id": rng.permutation(stars) * 7919 + 10**12,
        "ra": np.zeros(stars),
        "dec": np.zeros(stars),
        "flux": flux,
        "flux_error": np.repeat(1 / snr[:, None], PIXELS, 1),
        "snr": snr,
        "xp": rng.normal(0, 0.05, (stars, 6)) + colour[:, None] * np.array([5, 2, 1, 0, 0, 3.0]),
        "photometry": np.stack([magnitude, magnitude + colour / 2, magnitude - colour / 2], 1),
        "parallax": 1 / distance + rng.normal(0, 0.05, stars),
        "parallax_error": np.full(stars, 0.05),
        "label": label,
        "label_error": error,
    }
    arrays["xp"][rng.random(stars) < 0.05] = np.nan
    arrays["parallax"][rng.random(stars) < 0.05] = np.nan
    return arrays


def build_survey(path, arrays, *, without=(), complete=True, repeat=1):
    arrays = {k: v for k, v in arrays.items() if k not in without}
    for name in {"flux", "flux_error"} & set(arrays):
        arrays[name] = np.tile(arrays[name], repeat)
    stars = len(arrays["source_id"])
    coordinates = {
        "label": Coordinate("label", np.array(LABELS)),
        "band": Coordinate("band", np.array(["g", "bp", "rp"])),
    }
    if "flux" in arrays:
        coordinates["wavelength"] = Coordinate(
            "pixel", np.linspace(846, 870, repeat * PIXELS), dict(CONDITIONS)
        )
    layout = Layout(
        kind="survey",
        sizes={"star": stars, "pixel": repeat * PIXELS, "coefficient": 6, "band": 3, "label": 3},
        chunk_stars=64,
        shard_stars=256,
        variables=tuple(SURVEY_VARIABLES[name] for name in arrays),
        coordinates=coordinates,
        attrs={"survey": "simple", "release": "test", "inputs": "none", "complete": complete},
    )
    store = create_store(path, layout)
    for region in store.regions():
        store.write(region, {name: array[region.slice] for name, array in arrays.items()})
    return path
