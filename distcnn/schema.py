"""What the stores hold: dimensions, variables, units, labels, bits and format versions.

This page is the data model. Readers, stores, catalogues and documentation all print it;
nothing here computes anything.
"""

from dataclasses import dataclass
from enum import IntEnum, IntFlag, StrEnum

SURVEY_FORMAT = 1
PREDICTIONS_FORMAT = 2
PACKAGE_FORMAT = 2

LIGHT_SPEED_KM_S = 299_792.458
"""Speed of light in vacuum [km/s], exact (SI)."""

STAR, PIXEL, COEFFICIENT, BAND, LABEL = "star", "pixel", "coefficient", "band", "label"
PAIR = "pair"
DIMENSIONS = {
    STAR: "one row per star, in the order of the archive's files",
    PIXEL: "sample of the spectrum on the dataset's wavelength grid",
    COEFFICIENT: "XP coefficient: BP first, then RP",
    BAND: "photometric band",
    LABEL: "stellar label",
    PAIR: "pair of labels, each label with those before it: teff_logg, teff_mh, logg_mh, ...",
}


@dataclass(frozen=True)
class Variable:
    """One variable of a store: its dimensions, type on disk, unit (VOUnit) and meaning."""

    name: str
    dims: tuple[str, ...]
    dtype: str
    unit: str
    description: str


def _table(*rows: tuple[str, tuple[str, ...], str, str, str]) -> dict[str, Variable]:
    return {row[0]: Variable(*row) for row in rows}


SURVEY_VARIABLES = _table(
    ("source_id", (STAR,), "int64", "", "identifier of the star, unique within the dataset"),
    ("transit_id", (STAR,), "int64", "", "transit that a row of epochs is of; absent if per star"),
    ("ra", (STAR,), "float64", "deg", "right ascension (ICRS)"),
    ("dec", (STAR,), "float64", "deg", "declination (ICRS)"),
    ("flux", (STAR, PIXEL), "float32", "", "normalised flux; NaN where masked"),
    ("flux_error", (STAR, PIXEL), "float16", "", "standard error of flux; NaN where masked"),
    ("mask", (STAR, PIXEL), "uint8", "", "why a pixel is not used (MaskBit); 0 = good"),
    ("snr", (STAR,), "float32", "", "signal to noise per pixel of the archive's spectrum"),
    ("xp", (STAR, COEFFICIENT), "float32", "", "XP coefficients, BP then RP; NaN if missing"),
    ("xp_error", (STAR, COEFFICIENT), "float32", "", "standard errors of xp"),
    ("photometry", (STAR, BAND), "float32", "mag", "apparent magnitudes; NaN if missing"),
    ("parallax", (STAR,), "float32", "mas", "parallax as published; NaN if missing"),
    ("parallax_error", (STAR,), "float32", "mas", "standard error of parallax"),
    ("label", (STAR, LABEL), "float32", "", "reference labels; NaN where the star has none"),
    ("label_error", (STAR, LABEL), "float32", "", "standard errors of the reference labels"),
    ("label_snr", (STAR,), "float32", "", "signal to noise of the reference spectrum"),
)

# Of five labels 229 bytes a star, 100 of them for the interval, the debiased estimate and the
# correlations; these are float16, because half a thousandth is more than a network knows of them.
PREDICTION_VARIABLES = _table(
    ("source_id", (STAR,), "int64", "", "identifier of the star, as in the survey"),
    ("ra", (STAR,), "float64", "deg", "right ascension (ICRS), copied from the survey"),
    ("dec", (STAR,), "float64", "deg", "declination (ICRS), copied from the survey"),
    ("snr", (STAR,), "float32", "", "signal to noise per pixel, copied from the survey"),
    ("parallax", (STAR,), "float32", "mas", "parallax, copied from the survey; NaN if missing"),
    ("reference_magnitude", (STAR,), "float32", "mag", "first photometric band, from the survey"),
    ("label", (STAR, LABEL), "float32", "", "mean of the ensemble; NaN if not computed"),
    ("label_error", (STAR, LABEL), "float32", "", "calibrated standard error (68 % interval)"),
    ("label_noise", (STAR, LABEL), "float32", "", "noise learned by the network, uncalibrated"),
    ("label_scatter", (STAR, LABEL), "float32", "", "standard deviation between members"),
    (
        "label_error_low",
        (STAR, LABEL),
        "float32",
        "",
        "half-width of the 68 % interval below",
    ),
    (
        "label_error_high",
        (STAR, LABEL),
        "float32",
        "",
        "half-width of the 68 % interval above",
    ),
    ("label_debiased", (STAR, LABEL), "float32", "", "label freed of the pull to the population"),
    ("label_debiased_error", (STAR, LABEL), "float32", "", "standard error of label_debiased"),
    ("label_correlation", (STAR, PAIR), "float16", "", "correlation of the errors of two labels"),
    ("novelty", (STAR,), "float32", "", "unlikeness to the training spectra; 1 = its limit"),
    ("valid_pixels", (STAR,), "float32", "", "fraction of pixels that could be used"),
    ("flags", (STAR,), "uint32", "", "reasons for caution (Flag); 0 = none"),
    ("status", (STAR,), "uint8", "", "whether the star was computed (Status)"),
)


@dataclass(frozen=True)
class LabelInfo:
    """A stellar label: unit (VOUnit), UCD, short text for axes, sentence, column stem."""

    name: str
    unit: str
    ucd: str
    symbol: str
    description: str


LABELS = {
    info.name: info
    for info in (
        LabelInfo("teff", "K", "phys.temperature.effective", "Teff", "effective temperature"),
        LabelInfo("logg", "dex", "phys.gravity", "log g", "logarithm of surface gravity in cm/s2"),
        LabelInfo("mh", "dex", "phys.abund.Z", "[M/H]", "overall metallicity"),
        LabelInfo("alpham", "dex", "phys.abund", "[alpha/M]", "alpha elements over metallicity"),
        LabelInfo("feh", "dex", "phys.abund.Fe", "[Fe/H]", "iron abundance"),
        LabelInfo("sife", "dex", "phys.abund", "[Si/Fe]", "silicon over iron"),
        LabelInfo("alfe", "dex", "phys.abund", "[Al/Fe]", "aluminium over iron"),
        LabelInfo("mgfe", "dex", "phys.abund", "[Mg/Fe]", "magnesium over iron"),
        LabelInfo("nife", "dex", "phys.abund", "[Ni/Fe]", "nickel over iron"),
        LabelInfo("ali", "dex", "phys.abund", "A(Li)", "absolute lithium abundance"),
    )
}

DEFAULT_LABELS = ("teff", "logg", "mh", "alpham", "feh")
"""What is measured unless a configuration names other labels, and all that the simulator knows."""


class MaskBit(IntFlag):
    """Why a pixel is not used. Texts in MASK_TEXT."""

    MISSING = 1
    OUTLIER = 2
    RANGE = 4
    EDGE = 8


MASK_TEXT = {
    MaskBit.MISSING: "the archive gives no flux or no error here",
    MaskBit.OUTLIER: "the flux stands too far from its neighbours (cosmic hit, spike)",
    MaskBit.RANGE: "the flux is outside the range that the store can hold",
    MaskBit.EDGE: "too little of the rebinned pixel is covered by good input pixels",
}


class Flag(IntFlag):
    """Reasons for caution about a prediction. Texts in FLAG_TEXT."""

    LABEL_LIMITS = 1
    INPUT_LIMITS = 2
    NOVEL_SPECTRUM = 4
    NO_SPECTRUM = 8
    NO_XP = 16
    NO_PHOTOMETRY = 32
    NO_PARALLAX = 64
    FEW_PIXELS = 128
    MEMBERS_DISAGREE = 256
    NON_FINITE = 512
    UNCALIBRATED = 1024
    NOT_COMPUTED = 2048


FLAG_TEXT = {
    Flag.LABEL_LIMITS: "a label lies outside the range of the training labels",
    Flag.INPUT_LIMITS: "magnitude or parallax lies outside the range of the training stars",
    Flag.NOVEL_SPECTRUM: "the spectrum is unlike every training spectrum",
    Flag.NO_SPECTRUM: "no usable spectrum",
    Flag.NO_XP: "no XP coefficients",
    Flag.NO_PHOTOMETRY: "at least one magnitude is missing",
    Flag.NO_PARALLAX: "no parallax",
    Flag.FEW_PIXELS: "too few valid pixels in the spectrum",
    Flag.MEMBERS_DISAGREE: "the members of the ensemble disagree more than in training",
    Flag.NON_FINITE: "the network gave a value that is not finite; no label is published",
    Flag.UNCALIBRATED: "the error could not be calibrated for stars like this one",
    Flag.NOT_COMPUTED: "the star could not be computed; the list of dead letters says why",
}


class Status(IntEnum):
    """Whether a star was computed. Never 0 in a finished store."""

    WAITING = 0
    DONE = 1
    FAILED = 2


class Reason(StrEnum):
    """Why a row of the archive was quarantined. Texts with the cure in REASON_TEXT."""

    DUPLICATE = "duplicate_source_id"
    ARRAY_LENGTH = "wrong_array_length"
    NOT_A_NUMBER = "text_in_number"
    NO_SOURCE = "not_in_source_table"
    ALL_MISSING = "no_valid_pixel"
    BAD_ID = "bad_source_id"
    GRID = "other_grid"
    MALFORMED = "malformed_row"


REASON_TEXT = {
    Reason.DUPLICATE: "the source_id was seen before; the first row is kept",
    Reason.ARRAY_LENGTH: "an array does not have the declared length; check the file's release",
    Reason.NOT_A_NUMBER: "a numeric field holds text; repair or remove the row",
    Reason.NO_SOURCE: "the star is not in the source table; add the matching source file",
    Reason.ALL_MISSING: "no pixel has a finite flux; nothing can be predicted from it",
    Reason.BAD_ID: "the source_id is missing or not a positive integer",
    Reason.GRID: "the spectrum stands on another wavelength grid than declared",
    Reason.MALFORMED: "the row has more or fewer fields than the header; the file may be cut",
}


class Defect(StrEnum):
    """What the simulator did to a star on purpose: column ``trouble`` of truth.parquet."""

    NAN_PIXELS = "nan_pixels"
    COSMIC = "cosmic"
    NO_XP = "no_xp"
    NO_PARALLAX = "no_parallax"
    NEGATIVE_PARALLAX = "negative_parallax"
    HOT = "hot"
    BINARY = "binary"
    WRONG_RV = "wrong_rv"
    DUPLICATE = "duplicate"
