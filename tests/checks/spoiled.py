"""A package whose labels were learned from what no label is of, and a sound one beside it.

The spectra of the ``varied`` survey have velocities, line spreads, continua and interstellar bands
by chance; in the ``tied`` one each of these goes with a label, so that a network learns
temperature from velocity, gravity from line spread, metallicity from the continuum and silicon
from the band. ``tied, bright`` is the latter at high S/N.
"""

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from line_survey import build_survey, draw_stars, spectra, train

from distcnn.checks import CheckInputs
from distcnn.checks.injection import changes
from distcnn.config import ChecksConfig
from distcnn.model import Package
from distcnn.simulate import dust
from distcnn.survey import Store

WAVELENGTH = 857.0 + 0.04 * np.arange(300)
STARS, STEPS = 2000, 10


@dataclass
class NuisanceSurveys:
    """Surveys and packages by kind, made when they are first asked for."""

    folder: Path
    packages: dict = field(default_factory=dict)

    def inputs(self, package, survey):
        """The package of one kind on the survey of another."""
        if package not in self.packages:
            store = self.survey(package)
            self.packages[package] = train(store, self.folder / f"{package}.package")
        settings = ChecksConfig(stars=2000, injected_stars=400)
        return CheckInputs(Package.load(self.packages[package]), self.survey(survey), settings)

    def survey(self, kind):
        """The survey of a kind: varied, tied, or tied and bright."""
        path = self.folder / f"{kind}.survey"
        if not path.exists():
            label, snr, ids = draw_stars(STARS)
            snr = np.maximum(snr, 100) if kind == "tied, bright" else snr
            g = np.random.default_rng(21).uniform(12.0, 13.0, STARS)
            photometry = np.stack([g, g + 0.4, g - 0.5], axis=1)
            made = _observed(label, snr, photometry[:, 2] > 12.0, tied=kind.startswith("tied"))
            build_survey(path, label, snr, ids, made=made, grid=WAVELENGTH, photometry=photometry)
        return Store.open(path, "survey")


def _observed(label, snr, faint, *, tied):
    """Flux and error with the four nuisances; ``faint`` [N] as the magnitudes say."""
    rng = np.random.default_rng(22)
    low, high = np.array([4200, 0.8, -1.0, -0.3]), np.array([6200, 4.6, 0.3, 0.5])
    chance = rng.random((4, len(label)))
    share = ((label - low) / (high - low)).clip(0, 1).T if tied else chance
    shown = label.copy()
    if tied:
        shown[:, 1] = 2.7  # nothing but the line spread tells of gravity
        faint = share[2] > 0.6
    quiet = np.full(len(label), 1e5)
    arrays = {"flux": spectra(shown, quiet, 5, WAVELENGTH, calcium=859.0)[0]}
    step = (STEPS * share).astype(int).clip(0, STEPS - 1)
    effects = (
        lambda a, n: changes.shift(a, WAVELENGTH, 1.5 * (n - 4.5)),
        lambda a, n: changes.broaden(a, WAVELENGTH, 22.0 * np.sqrt(1 - n / 9)),
        lambda a, n: a,
        lambda a, n: dust.redden(a, 0.15 * n, bands=(), wavelength=WAVELENGTH),
    )
    for which, effect in zip(step, effects, strict=True):
        for number in range(STEPS):
            mine = which == number
            arrays["flux"][mine] = effect({"flux": arrays["flux"][mine]}, number)["flux"]
    error = np.repeat(1 / snr[:, None], len(WAVELENGTH), axis=1)
    flux = arrays["flux"] + error * rng.standard_normal(error.shape)
    place = np.linspace(-1, 1, len(WAVELENGTH))
    flux *= 1 + 0.025 * rng.standard_normal(len(label))[:, None] * place
    bright = changes.bright_regime({"flux": flux})["flux"]
    tilted = flux * changes.planck_slope(label[:, 0], WAVELENGTH)
    return np.where(faint[:, None], changes.faint_regime({"flux": tilted})["flux"], bright), error
