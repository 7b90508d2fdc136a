"""A finished prediction store of any size, made without a network."""

from pathlib import Path

import numpy as np

from distcnn.catalogue.columns import pairs
from distcnn.schema import LABEL, PAIR, PREDICTION_VARIABLES, STAR, Flag, Recommendation, Status
from distcnn.survey import Coordinate, Layout, Store, create_store

FIVE = ("teff", "logg", "mh", "alpham", "feh")
CENTRE = {"teff": (5000, 600), "logg": (3.0, 1.0)}
LIMITS = {
    "label_low": [4000.0, 0.5, -1.0, -0.2, -1.0],
    "label_high": [6500.0, 5.0, 0.5, 0.5, 0.5],
    "reference_magnitude": [7.0, 14.0],
    "parallax": [None, 10.0],
}


def make_predictions(
    path: Path,
    stars: int = 300,
    labels: tuple[str, ...] = FIVE,
    *,
    shard: int = 128,
    limits: dict | None = LIMITS,
    complete: bool = True,
    seed: int = 1,
    without: tuple[str, ...] = (),
) -> Store:
    """Random but plausible rows; the first star could not be computed.

    ``without``: variables that stores did not have in former times.
    """
    names = np.array(["_".join(pair) for pair in pairs(labels)], dtype=str)
    coordinates = {LABEL: Coordinate(LABEL, np.array(labels)), PAIR: Coordinate(PAIR, names)}
    dims = {STAR, LABEL, *([PAIR] if names.size else [])}
    layout = Layout(
        kind="predictions",
        sizes={STAR: stars, LABEL: len(labels), PAIR: names.size},
        chunk_stars=shard // 2,
        shard_stars=shard,
        variables=tuple(
            v
            for v in PREDICTION_VARIABLES.values()
            if dims.issuperset(v.dims)
            and not v.name.startswith("velocity")
            and v.name not in without
        ),
        coordinates={name: c for name, c in coordinates.items() if name in dims},
        attrs={
            "complete": False,
            "distcnn_version": "0.0.test",
            "release": "DR3",
            "bands": ["phot_g_mean_mag"],
            "engine": {"name": "torchscript", "precision": "float32", "members": 8},
            "package": {"path": "../package", "digest": "a" * 64},
            "survey": {"path": "../survey.zarr", "digest": "b" * 64, "name": "gaia_rvs"},
            "counts": {"stars": stars, "done": stars - 1, "failed": 1},
            **({"limits": limits} if limits else {}),
        },
    )
    store = create_store(path, layout)
    rng = np.random.default_rng(seed)
    for region in store.regions():
        made = rows(rng, region.start, region.size, labels)
        store.write(region, {name: made[name] for name in made if name not in without})
    store.annotate({"complete": complete})
    return Store.open(path, "predictions")


def rows(
    rng: np.random.Generator, start: int, size: int, labels: tuple[str, ...]
) -> dict[str, np.ndarray]:
    """Arrays of one region."""
    centre, width = np.array([CENTRE.get(name, (-0.2, 0.4)) for name in labels]).T
    label = rng.normal(centre, width, (size, len(labels))).astype("f4")
    error = rng.uniform(0.01, 0.1, (6, size, len(labels))).astype("f4")
    debiased = label + error[5]
    correlation = rng.uniform(-1, 1, (size, len(pairs(labels)))).astype("f2")
    novelty = rng.gamma(2, 0.3, size).astype("f4")
    flags = np.where(novelty > 1, int(Flag.NOVEL_SPECTRUM), 0).astype("u4")
    status = np.full(size, Status.DONE, "u1")
    recommended = np.random.default_rng(start + 7).integers(0, 3, label.shape).astype("u1")
    if start == 0:
        for values in (label, debiased, correlation, novelty):
            values[0] = np.nan
        error[:, 0] = np.nan
        flags[0], status[0] = Flag.NON_FINITE, Status.FAILED
        recommended[0] = Recommendation.AVOID
    known = {"label_correlation": correlation} if correlation.size else {}
    return known | {
        "source_id": (np.arange(start, start + size, dtype="i8") + 1) * 4_000_000_007,
        "ra": rng.uniform(0, 360, size),
        "dec": rng.uniform(-90, 90, size),
        "snr": rng.uniform(15, 200, size).astype("f4"),
        "parallax": rng.normal(3, 4, size).astype("f4"),
        "reference_magnitude": rng.uniform(6, 15, size).astype("f4"),
        "label": label,
        "label_error": error[0],
        "label_noise": error[1],
        "label_scatter": error[2],
        "label_error_low": error[3],
        "label_error_high": error[4],
        "label_debiased": debiased,
        "label_debiased_error": error[5],
        "label_prior_ratio": (error[0] / width).astype("f2"),
        "label_recommendation": recommended,
        "novelty": novelty,
        "valid_pixels": rng.uniform(0.5, 1, size).astype("f4"),
        "flags": flags,
        "status": status,
    }
