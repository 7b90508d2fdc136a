"""The baselines: one row per method. A new one is one file, one row here, one conformance test."""

from collections.abc import Sequence

from distcnn.baselines.base import Baseline
from distcnn.errors import UsageError

_SPECTRUM = ("flux",)
_EVERYTHING = ("flux", "xp", "photometry")

BASELINES = (
    Baseline(
        "ridge",
        "ridge regression, same inputs",
        ("flux", "xp"),
        "regressions.ridge:LinearRidge",
    ),
    Baseline(
        "photometry",
        "photometry and parallax alone",
        ("photometry",),
        "regressions.boosting:PhotometryOnly",
    ),
    Baseline(
        "boosting",
        "gradient boosting, same inputs",
        _EVERYTHING,
        "regressions.boosting:BoostedTrees",
    ),
    Baseline(
        "gaussian_process",
        "PCA + Gaussian process, same inputs",
        _EVERYTHING,
        "regressions.gaussian_process:PrincipalComponentProcess",
    ),
    Baseline(
        "cannon",
        "The Cannon",
        _SPECTRUM,
        "spectral.cannon:Cannon",
        spectroscopic=True,
        source="Ness et al. 2015, ApJ 808, 16",
    ),
    Baseline(
        "payne",
        "The Payne",
        _SPECTRUM,
        "spectral.payne:Payne",
        spectroscopic=True,
        source="Ting et al. 2019, ApJ 879, 69",
    ),
    Baseline(
        "matisse",
        "projection vectors (MATISSE)",
        _SPECTRUM,
        "spectral.matisse:Matisse",
        spectroscopic=True,
        source="Recio-Blanco et al. 2006, MNRAS 370, 141",
    ),
    Baseline(
        "gauguin",
        "Gauss-Newton steps (GAUGUIN)",
        _SPECTRUM,
        "spectral.gauguin:Gauguin",
        spectroscopic=True,
        source="Bijaoui et al. 2012; Recio-Blanco et al. 2016, A&A 585, A93",
    ),
    Baseline(
        "ferre",
        "grid search and interpolation (FERRE)",
        _SPECTRUM,
        "spectral.ferre:Ferre",
        spectroscopic=True,
        source="Allende Prieto et al. 2006, ApJ 636, 804",
    ),
    Baseline(
        "starnet",
        "StarNet",
        _SPECTRUM,
        "networks.starnet:StarNet",
        source="Fabbro et al. 2018, MNRAS 475, 2978",
    ),
    Baseline(
        "bcnn",
        "astroNN's BCNN",
        _SPECTRUM,
        "networks.bcnn:BayesianCnn",
        source="Leung & Bovy 2019, MNRAS 483, 3255",
    ),
)


def choose_baselines(names: Sequence[str] = ()) -> tuple[Baseline, ...]:
    """The rows of those names, in the order of the table; all of them if none is named.

    Raises
    ------
    UsageError : there is no such method; tells which there are.
    """
    known = [baseline.name for baseline in BASELINES]
    wrong = [name for name in names if name not in known]
    if wrong:
        raise UsageError(
            f"no method of comparison is called {', '.join(wrong)}",
            expected=", ".join(known),
        )
    return tuple(b for b in BASELINES if not names or b.name in names)
