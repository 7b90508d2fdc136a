"""Rows of text of the archive's three tables for a block of stars."""

from collections.abc import Iterator

import numpy as np

from distcnn.schema import Defect
from distcnn.simulate.files import ecsv
from distcnn.simulate.files.gaia_columns import RVS, SOLUTION_ID, SOURCE, XP
from distcnn.simulate.galaxy import sky
from distcnn.simulate.galaxy.stars import BANDS, SimulatedStars
from distcnn.simulate.spectrum.xp import COEFFICIENTS, draw_coefficients

_CORRELATIONS = b'"[' + b",".join([b"0.0"] * (COEFFICIENTS * (COEFFICIENTS - 1) // 2)) + b']"'
_BASIS = {"bp": 56, "rp": 57}
_XP_BLOCK_STARS = 500


def _single(values: np.ndarray) -> np.ndarray:
    return values.astype(np.float32)


def source_rows(rng: np.random.Generator, stars: SimulatedStars, release: str) -> Iterator[bytes]:
    """GaiaSource: every source of the range, with or without a spectrum."""
    columns = {
        **_identity(stars, "source"),
        **_astrometry(rng, stars),
        **_magnitudes(stars),
        **_velocity(rng, stars),
    }
    columns["designation"] = np.array([f"Gaia {release} {name}" for name in stars.source_id])
    longitude, latitude = sky.to_galactic(stars.ra, stars.dec)
    columns |= {"ref_epoch": np.full(len(stars), 2016.0), "l": longitude, "b": latitude}
    columns["ecl_lon"], columns["ecl_lat"] = sky.to_ecliptic(stars.ra, stars.dec)
    columns["has_rvs"] = stars.has_spectrum
    columns["has_xp_continuous"] = stars.has_spectrum & ~stars.affected[Defect.NO_XP]
    columns["non_single_star"] = np.where(stars.affected[Defect.BINARY], 2, 0)
    tokens = {name: ecsv.scalars(values) for name, values in columns.items()}
    tokens["rv_method_used"] = _whole(columns["rv_method_used"])
    tokens["rv_nb_transits"] = _whole(columns["rv_nb_transits"])
    yield ecsv.rows(SOURCE, tokens)


def _whole(values: np.ndarray) -> list[bytes]:
    """Integers that may be missing, held as floats."""
    return [b"null" if np.isnan(value) else b"%d" % int(value) for value in values]


def _identity(stars: SimulatedStars, table: str) -> dict[str, np.ndarray]:
    return {
        "source_id": stars.source_id,
        "solution_id": np.full(len(stars), SOLUTION_ID[table], np.int64),
        "ra": stars.ra,
        "dec": stars.dec,
    }


def _astrometry(rng: np.random.Generator, stars: SimulatedStars) -> dict[str, np.ndarray]:
    solved = ~stars.affected[Defect.NO_PARALLAX]
    bad = stars.affected[Defect.NEGATIVE_PARALLAX] & (stars.parallax_error > 0.2)
    ruwe = rng.lognormal(0.01, 0.07, len(stars))
    ruwe *= np.where(bad | stars.affected[Defect.BINARY], rng.uniform(1.2, 5.0, len(stars)), 1.0)
    wavenumber = 1.76 - 1.61 / np.pi * np.arctan(0.531 * stars.colour)  # Lindegren et al. 2021
    return {
        "parallax": stars.parallax,
        "parallax_error": _single(stars.parallax_error),
        "parallax_over_error": _single(stars.parallax / stars.parallax_error),
        "astrometric_params_solved": np.where(solved, 31, 3),
        "nu_eff_used_in_astrometry": _single(np.where(solved, wavenumber, np.nan)),
        "pseudocolour": np.full(len(stars), np.nan, np.float32),
        "ruwe": _single(np.where(solved, ruwe, np.nan)),
    }


def _magnitudes(stars: SimulatedStars) -> dict[str, np.ndarray]:
    columns = {}
    for band in BANDS:
        columns[f"phot_{band}_mean_mag"] = _single(stars.magnitude[band])
        columns[f"phot_{band}_mean_flux_over_error"] = _single(1.0857 / stars.magnitude_error[band])
    colour = np.clip(stars.colour, -0.5, 4.0)
    excess = 1.154360 + 0.033772 * colour + 0.032277 * colour**2  # Riello et al. 2021
    return columns | {"phot_bp_rp_excess_factor": _single(excess)}


def _velocity(rng: np.random.Generator, stars: SimulatedStars) -> dict[str, np.ndarray]:
    exposure, seen = stars.exposure, stars.has_spectrum
    spread = np.choose(stars.population, (30.0, 55.0, 140.0))
    error = np.clip(1.3 * 10 ** (0.346 * (exposure.grvs - 12.0)), 0.12, 10.0)
    template = np.clip(np.round(stars.labels.teff / 250.0) * 250.0, 3100.0, 14500.0)
    broad = np.where((stars.vsini > 8.0) & (exposure.grvs < 12.0), stars.vsini, np.nan)
    columns = {
        "radial_velocity": _single(spread * rng.standard_normal(len(stars))),
        "radial_velocity_error": _single(error),
        "rv_method_used": np.where(exposure.grvs <= 12.0, 1.0, 2.0),
        "rv_nb_transits": exposure.transits.astype(np.float64),
        "rv_template_teff": _single(template),
        "vbroad": _single(broad),
        "grvs_mag": _single(exposure.grvs),
        "rvs_spec_sig_to_noise": _single(exposure.snr),
    }
    return {
        name: np.where(seen, values, values.dtype.type(np.nan)) for name, values in columns.items()
    }


def spectrum_rows(
    rng: np.random.Generator,
    stars: SimulatedStars,
    block: np.ndarray,
    flux: np.ndarray,
    error: np.ndarray,
) -> bytes:
    """RvsMeanSpectrum: the stars ``block``; copies of the affected ones follow."""
    transits = stars.exposure.transits[block]
    ccds = 3 * transits - rng.integers(0, 2, block.size)
    deblended = np.where(rng.random(block.size) < 0.25, rng.binomial(ccds, 0.4), 0)
    columns = {name: values[block] for name, values in _identity(stars, "rvs").items()}
    columns |= {"combined_transits": transits, "combined_ccds": ccds, "deblended_ccds": deblended}
    tokens = {name: ecsv.scalars(values) for name, values in columns.items()}
    tokens["flux"] = ecsv.arrays(np.round(flux, 6))
    tokens["flux_error"] = ecsv.arrays(np.round(error, 6))
    twice = np.flatnonzero(stars.affected[Defect.DUPLICATE][block])
    copies = {name: [values[row] for row in twice] for name, values in tokens.items()}
    return ecsv.rows(RVS, tokens) + ecsv.rows(RVS, copies)


def xp_rows(rng: np.random.Generator, stars: SimulatedStars, systematic: float) -> Iterator[bytes]:
    """XpContinuousMeanSpectrum: the sources that have one."""
    having = np.flatnonzero(stars.has_spectrum & ~stars.affected[Defect.NO_XP])
    for begin in range(0, having.size, _XP_BLOCK_STARS):
        block = having[begin : begin + _XP_BLOCK_STARS]
        identity = _identity(stars, "xp")
        tokens = {k: ecsv.scalars(identity[k][block]) for k in ("source_id", "solution_id")}
        for band in ("bp", "rp"):
            tokens |= _xp_band(rng, stars, block, band, systematic)
        yield ecsv.rows(XP, tokens)


def _xp_band(
    rng: np.random.Generator, stars: SimulatedStars, block: np.ndarray, band: str, systematic: float
) -> dict[str, list[bytes]]:
    labels = stars.labels
    true = (labels.teff, labels.logg, labels.mh, labels.alpham, stars.ebv)
    found = draw_coefficients(
        rng,
        band,
        np.stack(true)[:, block],
        (stars.magnitude[band][block], stars.colour[block]),
        systematic,
    )
    count = block.size
    measurements = rng.integers(900, 3000, count)
    significant = np.abs(found.value) > 3 * found.error
    relevant = COEFFICIENTS - np.argmax(significant[:, ::-1], axis=1)
    scale = _single(rng.normal(1.05, 0.04, count))
    columns = {
        "basis_function_id": np.full(count, _BASIS[band]),
        "degrees_of_freedom": measurements - COEFFICIENTS,
        "n_parameters": np.full(count, COEFFICIENTS),
        "n_measurements": measurements,
        "n_rejected_measurements": rng.poisson(8.0, count),
        "standard_deviation": scale,
        "chi_squared": _single(scale**2 * (measurements - COEFFICIENTS)),
        "n_relevant_bases": relevant,
        "relative_shrinking": np.ones(count, np.float32),
    }
    tokens = {f"{band}_{name}": ecsv.scalars(values) for name, values in columns.items()}
    tokens[f"{band}_coefficients"] = ecsv.arrays(found.value)
    tokens[f"{band}_coefficient_errors"] = ecsv.arrays(_single(found.error))
    tokens[f"{band}_coefficient_correlations"] = [_CORRELATIONS] * count
    return tokens
