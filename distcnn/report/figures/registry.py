"""The figures of the page: one row each, in the order in which they are shown.

A new figure is one function in the file of its subject and one row here.
"""

from collections.abc import Callable, Collection
from dataclasses import dataclass

from matplotlib.figure import Figure

from distcnn.report.choice import choose_rows
from distcnn.report.data import ReportData
from distcnn.report.figures import findings
from distcnn.report.figures.attenuation import attenuation, metallicity_bias
from distcnn.report.figures.calibration import coverage, ensemble_size, populations
from distcnn.report.figures.completeness import completeness, sky
from distcnn.report.figures.labels import alpha_plane, kiel
from distcnn.report.figures.ranges import ranges
from distcnn.report.figures.residuals import precision, pulls, residuals
from distcnn.report.figures.run import learning, speed
from distcnn.report.figures.spectra import novelty, spectra


@dataclass(frozen=True)
class ReportFigure:
    """One row of the registry.

    Attributes
    ----------
    key : its name in ``report.figures``.
    section : key of the section of the page (``sections.registry``).
    finding : what it shows, in words and numbers, for who cannot see it; "" = its title says it.
    needs : what must be there to draw it, as the end of a sentence.
    draw : returns None where the data do not allow the figure.
    """

    key: str
    section: str
    title: str
    caption: str
    needs: str
    draw: Callable[[ReportData], Figure | None]
    finding: Callable[[ReportData], str] = findings.nothing


FIGURES = (
    ReportFigure(
        "completeness",
        "completeness",
        "How many stars have labels",
        "Fraction of the stars of each bin that have labels, and that have labels without any "
        "flag; the bars below count the stars.",
        "predictions",
        lambda data: completeness(data.numbers.completeness["rows"]),
        findings.completeness,
    ),
    ReportFigure(
        "sky",
        "completeness",
        "Completeness over the sky",
        "Cells of equal area. Left: number of stars. Right: fraction of them that have labels "
        "without any flag.",
        "positions of the stars",
        lambda data: sky(data.numbers.completeness["sky"]),
        findings.sky,
    ),
    ReportFigure(
        "kiel",
        "stars",
        "Kiel diagram",
        "Stars without any flag. Left: number of stars per cell. Right: median metallicity.",
        "the labels teff and logg",
        lambda data: kiel(data.sample, data.names),
        findings.kiel,
    ),
    ReportFigure(
        "alpha",
        "stars",
        "Alpha elements against metallicity",
        "Stars without any flag, in bins of S/N; the cross is the median quoted error.",
        "a metallicity and an alpha label",
        lambda data: alpha_plane(data.sample, data.names, data.config.snr_edges),
        findings.alpha,
    ),
    ReportFigure(
        "residuals",
        "accuracy",
        "Residuals",
        "Prediction minus reference against the reference; lines are the 16th, 50th and 84th "
        "percentile. A slope is attenuation: extreme labels drawn towards the mean.",
        "reference labels outside training",
        lambda data: residuals(data.sample, data.names, data.config.snr_edges),
        findings.residuals,
    ),
    ReportFigure(
        "precision",
        "accuracy",
        "Precision against S/N",
        "Robust scatter of the residuals for every method, on the same stars.",
        "reference labels outside training",
        lambda data: precision(data.numbers.accuracy, data.names),
        findings.precision,
    ),
    ReportFigure(
        "coverage",
        "errors",
        "Are the quoted errors true?",
        "Fraction of stars whose reference lies within one and two quoted errors: points should "
        "lie on the green line. Filled: evaluated stars; hollow: the package's own table, of the "
        "calibration stars. Bars are the sampling error, the band is what counts as calibrated.",
        "reference labels outside training",
        lambda data: coverage(
            data.numbers.coverage,
            data.numbers.package["coverage"],
            data.names,
            data.config.coverage_band,
        ),
        findings.coverage,
    ),
    ReportFigure(
        "pulls",
        "errors",
        "Pulls",
        "Residual in units of the quoted error: the histogram should follow the line, the unit "
        "Gaussian, with a width (1.48 MAD) of 1. Outliers are collected in the outermost bins.",
        "reference labels outside training",
        lambda data: pulls(data.sample, data.names),
        findings.pulls,
    ),
    ReportFigure(
        "cells",
        "errors",
        "Errors by population",
        "The same fractions for dwarfs, giants and metal-poor stars (by predicted labels) and "
        "stars that lack an input: no row should leave the bands further than its bar is long.",
        "reference labels outside training, or a package that knows its coverage",
        lambda data: populations(data.numbers.cells, data.numbers.package["coverage"], data.names),
        findings.cells,
    ),
    ReportFigure(
        "ranges",
        "errors",
        "Bias and coverage along each label",
        "In ranges of the predicted label. Above: mean residual with its error, within the scatter "
        "(grey). Below: fraction within one quoted error; the bars are the sampling error, the "
        "band is what counts as calibrated.",
        "reference labels outside training",
        lambda data: ranges(data.numbers.ranges, data.names, data.config.coverage_band),
        findings.ranges,
    ),
    ReportFigure(
        "attenuation",
        "attenuation",
        "Attenuation",
        "Slope of predicted against true labels: below 1, extreme stars are drawn to the mean, as "
        "far as the dotted line by necessity. Below: the scatter, and what debiasing costs.",
        "reference labels outside training, or a package that knows its attenuation",
        lambda data: attenuation(
            data.numbers.attenuation or data.numbers.package["attenuation"], data.names
        ),
        findings.attenuation,
    ),
    ReportFigure(
        "poor",
        "attenuation",
        "Bias along metallicity",
        "Mean residual in bins of the reference: metal-poor stars should not come out too rich. "
        "The band is 0.1 dex.",
        "reference metallicities outside training",
        lambda data: metallicity_bias(data.numbers.poor),
        findings.poor,
    ),
    ReportFigure(
        "ensemble",
        "ensemble",
        "How many members are needed",
        "Scatter and coverage of ensembles of fewer members, each calibrated by itself: where the "
        "upper curves are flat, more members gain nothing.",
        "a package of several members",
        lambda data: ensemble_size(data.numbers.package["ensemble_size"], data.names),
        findings.ensemble,
    ),
    ReportFigure(
        "novelty",
        "flags",
        "Novelty of the spectra",
        "How unlike the training spectra each spectrum is; above 1 it is flagged.",
        "predictions from spectra",
        lambda data: novelty(data.sample),
        findings.novelty,
    ),
    ReportFigure(
        "spectra",
        "spectra",
        "Example spectra",
        "Normalised flux with its error; masked pixels are shaded.",
        "the survey store, with spectra, and report.spectra above 0",
        lambda data: spectra(data.sample, data.names, data.survey, data.config.spectra),
        findings.spectra,
    ),
    ReportFigure(
        "learning",
        "run",
        "Learning curves",
        "One panel per member, the validation losses of the others in grey: training far below "
        "validation is overfitting, a best epoch at the end asks for more epochs.",
        "the package",
        lambda data: learning(data.curves),
        findings.learning,
    ),
    ReportFigure(
        "speed",
        "run",
        "Throughput",
        "Read, infer and write, per region.",
        "the ledger of the predictions",
        lambda data: speed(data.numbers.throughput["regions"]),
        findings.speed,
    ),
)


def choose_figures(keys: Collection[str] | None) -> tuple[ReportFigure, ...]:
    """The figures with these keys, all of them for None, in the order of the page.

    Raises
    ------
    ConfigError : a key names no figure.
    """
    return choose_rows(FIGURES, keys, "report.figures")
