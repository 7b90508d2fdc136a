"""A simulated Galaxy as a survey and its predictions, without spectra: labels with known errors."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from distcnn.config import SimulateConfig
from distcnn.schema import (
    BAND,
    DEFAULT_LABELS,
    LABEL,
    PAIR,
    PREDICTION_VARIABLES,
    STAR,
    SURVEY_VARIABLES,
    Status,
)
from distcnn.simulate.galaxy import POPULATIONS, SimulatedStars, draw_stars, split_sky
from distcnn.survey import Coordinate, Layout, Store, create_store

SIGMA = np.array([60.0, 0.12, 0.06, 0.03, 0.06])
"""Errors of the labels at S/N 20; they fall as one over its square root."""
BANDS = ("phot_g_mean_mag", "phot_bp_mean_mag", "phot_rp_mean_mag")
PAIRS = [f"{a}_{b}" for k, b in enumerate(DEFAULT_LABELS) for a in DEFAULT_LABELS[:k]]


@dataclass
class Galaxy:
    """``truth`` [N, 5], ``population`` [N] names."""

    predictions: Path
    survey: Path
    stars: SimulatedStars
    truth: np.ndarray
    population: np.ndarray


def make_galaxy(folder: Path, stars: int = 6000, seed: int = 3, chunk: int = 512) -> Galaxy:
    rng = np.random.default_rng(seed)
    (sky,) = split_sky(stars, stars)
    drawn = draw_stars(rng, sky, SimulateConfig(spectrumless=0.0))
    truth = drawn.labels.as_array()
    snr = drawn.exposure.snr
    error = SIGMA * np.sqrt(20 / snr)[:, None]
    correlation = np.zeros((len(truth), len(PAIRS)))
    correlation[:, PAIRS.index("mh_alpham")] = -0.3
    noise = rng.standard_normal(truth.shape)
    noise[:, 3] = -0.3 * noise[:, 2] + np.sqrt(1 - 0.09) * noise[:, 3]
    magnitudes = np.stack([drawn.magnitude[band] for band in ("g", "bp", "rp")], axis=1)
    base = {
        "source_id": drawn.source_id,
        "ra": drawn.ra,
        "dec": drawn.dec,
        "snr": snr,
        "parallax": drawn.parallax,
    }
    survey = base | {"parallax_error": drawn.parallax_error, "photometry": magnitudes}
    label = truth + error * noise
    predictions = base | {
        "reference_magnitude": magnitudes[:, 0],
        "label": label,
        "label_error": error,
        "label_correlation": correlation,
        "flags": np.zeros(len(truth), np.uint32),
        "status": np.full(len(truth), Status.DONE, np.uint8),
    }
    attrs = {"bands": list(BANDS), "complete": True}
    made = {
        "survey": {"path": "../survey.zarr", "digest": "0"},
        "fingerprint": {"seed": seed, "stars": stars},
    }
    _store(folder / "survey.zarr", "survey", SURVEY_VARIABLES, survey, attrs, chunk)
    _store(
        folder / "predictions.zarr",
        "predictions",
        PREDICTION_VARIABLES,
        predictions,
        attrs | made,
        chunk,
    )
    return Galaxy(
        folder / "predictions.zarr",
        folder / "survey.zarr",
        drawn,
        truth,
        np.array(POPULATIONS)[drawn.population],
    )


def _store(path, kind, table, arrays, attrs, chunk) -> Store:
    sizes = {STAR: len(arrays["source_id"])}
    for name, values in arrays.items():
        sizes.update(zip(table[name].dims, values.shape, strict=True))
    coordinates = {
        LABEL: Coordinate(LABEL, np.array(DEFAULT_LABELS)),
        PAIR: Coordinate(PAIR, np.array(PAIRS)),
        BAND: Coordinate(BAND, np.array(BANDS)),
    }
    layout = Layout(
        kind,
        sizes,
        chunk,
        2 * chunk,
        tuple(table[name] for name in arrays),
        {name: one for name, one in coordinates.items() if name in sizes},
        attrs,
    )
    store = create_store(path, layout)
    for region in store.regions():
        store.write(region, {name: values[region.slice] for name, values in arrays.items()})
    return store
