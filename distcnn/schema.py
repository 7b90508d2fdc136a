"""What the stores hold: dimensions, variables, units, labels, bits and format versions.

This page is the data model. Readers, stores, catalogues and documentation all print it;
nothing here computes anything.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum, IntFlag, StrEnum
from typing import Self

SURVEY_FORMAT = 1
PREDICTIONS_FORMAT = 2
PACKAGE_FORMAT = 2
STACKED_PACKAGE_FORMAT = 3
"""Of packages with regressions beside the networks, which a reader of format 2 would leave out."""
BLENDS_PACKAGE_FORMAT = 4
"""Of packages whose novelty has patterns of blends, which a reader of format 3 does not know."""
PERCEPTRONS_PACKAGE_FORMAT = 5
"""Of packages with perceptrons among the regressions, whose weights a reader of format 4 would give
to others."""
LABEL_NODES_PACKAGE_FORMAT = 6
"""Of packages whose errors vary along labels, or whose stacked labels are recentred, which a reader
of format 5 would leave out."""
OTHER_LIGHT_PACKAGE_FORMAT = 7
"""Of packages whose novelty compares spectra with the rest of the light, which a reader of format 6
does not know."""
PHOTOMETRIC_PACKAGE_FORMAT = 8
"""Of packages with perceptrons of all but the spectrum, whose weights a reader of format 7 would
give to others."""
PACKAGE_FORMATS = (
    PACKAGE_FORMAT,
    STACKED_PACKAGE_FORMAT,
    BLENDS_PACKAGE_FORMAT,
    PERCEPTRONS_PACKAGE_FORMAT,
    LABEL_NODES_PACKAGE_FORMAT,
    OTHER_LIGHT_PACKAGE_FORMAT,
    PHOTOMETRIC_PACKAGE_FORMAT,
)

LIGHT_SPEED_KM_S = 299_792.458
"""Speed of light in vacuum [km/s], exact (SI)."""
PLANCK_NM_K = 1.438777e7
"""Second radiation constant h c / k [nm K]."""

NAME_BYTES = 64
"""Bytes of UTF-8 kept of a star's name; the number that a name becomes is of all of it."""

# Names of dimensions.
STAR = "star"  # one row per star (or per epoch of it), in the order of the archive's files
PIXEL = "pixel"  # sample of the spectrum on the dataset's wavelength grid
COEFFICIENT = "coefficient"  # XP coefficient: BP first, then RP
BAND = "band"  # photometric band
LABEL = "label"  # stellar label
NAME = "name_byte"  # byte of a star's name in UTF-8, zero behind its end
PAIR = "pair"  # each label with those before it: teff_logg, teff_mh, logg_mh, ...


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
    ("spectrum_id", (STAR,), "int64", "", "spectrum that a row is of: digest of its fluxes"),
    ("name", (STAR, NAME), "uint8", "", "the archive's own name of the star, bytes of UTF-8"),
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
    ("velocity", (STAR,), "float32", "km/s", "radial velocity v = c z; NaN if unknown"),
    ("velocity_error", (STAR,), "float32", "km/s", "standard error of velocity"),
    ("label", (STAR, LABEL), "float32", "", "reference labels; NaN where the star has none"),
    ("label_error", (STAR, LABEL), "float32", "", "standard errors of the reference labels"),
    ("label_snr", (STAR,), "float32", "", "signal to noise of the reference spectrum"),
)

# Of five labels 244 bytes a star, 110 of them for the interval, the debiased estimate, the ratio to
# the population and the correlations; the last two are float16, because half a thousandth is more
# than a network knows of them.
PREDICTION_VARIABLES = _table(
    ("source_id", (STAR,), "int64", "", "identifier of the star, as in the survey"),
    ("name", (STAR, NAME), "uint8", "", "the archive's own name of the star, as in the survey"),
    ("ra", (STAR,), "float64", "deg", "right ascension (ICRS), copied from the survey"),
    ("dec", (STAR,), "float64", "deg", "declination (ICRS), copied from the survey"),
    ("snr", (STAR,), "float32", "", "signal to noise per pixel, copied from the survey"),
    ("parallax", (STAR,), "float32", "mas", "parallax, copied from the survey; NaN if missing"),
    ("reference_magnitude", (STAR,), "float32", "mag", "first photometric band, from the survey"),
    ("velocity", (STAR,), "float32", "km/s", "radial velocity v = c z, copied from the survey"),
    ("velocity_error", (STAR,), "float32", "km/s", "standard error of velocity, copied"),
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
    (
        "label_debiased",
        (STAR, LABEL),
        "float32",
        "",
        "label freed of the pull to the population; NaN where the star tells less than its "
        "population (label_prior_ratio near 1) or too few calibration stars tell how strong "
        "the pull is",
    ),
    ("label_debiased_error", (STAR, LABEL), "float32", "", "standard error of label_debiased"),
    (
        "label_prior_ratio",
        (STAR, LABEL),
        "float16",
        "",
        "label_error over the spread of the training population; near 1 the label is that of the "
        "population, not of the star",
    ),
    (
        "label_recommendation",
        (STAR, LABEL),
        "uint8",
        "",
        "whether to use the label (Recommendation): 0 use, 1 use with care, 2 do not use",
    ),
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


LABEL_ENDINGS = (
    "",
    "_error",
    "_error_low",
    "_error_high",
    "_noise",
    "_scatter",
    "_debiased",
    "_debiased_error",
    "_prior_ratio",
    "_recommendation",
)
"""Columns of a label in a catalogue: its name with each of these endings."""


def label_columns(labels: Sequence[str]) -> list[str]:
    """Names of all the columns that a catalogue has because of its labels."""
    own = [f"{name}{ending}" for name in labels for ending in LABEL_ENDINGS]
    pairs = [f"{a}_{b}_corr" for place, b in enumerate(labels) for a in labels[:place]]
    return [*own, *pairs, *(f"e{name}" for name in labels if name in DEFAULT_LABELS)]


class DescribedFlag(IntFlag):
    """Bits, each in one row with the sentence that every product prints."""

    sentence: str

    def __new__(cls, bit: int, sentence: str = "") -> Self:
        member = int.__new__(cls, bit)
        member._value_ = bit
        member.sentence = sentence
        return member


class DescribedName(StrEnum):
    """Names, each in one row with its sentence."""

    sentence: str

    def __new__(cls, name: str, sentence: str = "") -> Self:
        member = str.__new__(cls, name)
        member._value_ = name
        member.sentence = sentence
        return member


class MaskBit(DescribedFlag):
    """Why a pixel is not used: bit and sentence."""

    MISSING = 1, "the archive gives no flux or no error here"
    OUTLIER = 2, "the flux stands too far from its neighbours (cosmic hit, spike)"
    RANGE = 4, "the flux is outside the range that the store can hold"
    EDGE = 8, "too little of the rebinned pixel is covered by good input pixels"


class Recommendation(IntEnum):
    """Whether to use a label of a star; larger is worse."""

    USE = 0
    CARE = 1
    AVOID = 2

    @property
    def sentence(self) -> str:
        """The words that every product prints."""
        return ("use", "use with care", "do not use")[self]


USE, CARE, AVOID = Recommendation


class Flag(DescribedFlag):
    """Reasons for caution about a prediction: bit, sentence; their rules: ``quality.flags``.

    ``own``, ``others`` : what is recommended for the labels that the flag is about, and for the
    other labels of the star. A flag that is about the star is about all of them.
    """

    own: Recommendation
    others: Recommendation

    def __new__(
        cls,
        bit: int,
        sentence: str = "",
        own: Recommendation = Recommendation.CARE,
        others: Recommendation | None = None,
    ) -> Self:
        member = int.__new__(cls, bit)
        member._value_, member.sentence = bit, sentence
        member.own, member.others = own, own if others is None else others
        return member

    LABEL_LIMITS = 1, "a label lies outside the range that training labels cover well", AVOID, CARE
    INPUT_LIMITS = 2, "magnitude or parallax lies outside the range of the training stars"
    NOVEL_SPECTRUM = 4, "the spectrum is unlike every training spectrum", AVOID
    NO_SPECTRUM = 8, "no usable spectrum", AVOID
    NO_XP = 16, "no XP coefficients, or a quarter of them are missing (BP or RP): none is used"
    NO_PHOTOMETRY = (
        32,
        "at least one magnitude is missing; errors are wider if training stars have all",
    )
    NO_PARALLAX = 64, "no parallax"
    FEW_PIXELS = 128, "too few valid pixels in the spectrum"
    MEMBERS_DISAGREE = (
        256,
        "the members of the ensemble disagree more than in training",
        AVOID,
        CARE,
    )
    NON_FINITE = 512, "the network gave a value that is not finite; no label is published", AVOID
    UNCALIBRATED = (
        1024,
        "the error of a label was calibrated for no star (it is NaN) or for none like this one",
        CARE,
        USE,
    )
    NOT_COMPUTED = (
        2048,
        "the star could not be computed; the list of dead letters says why",
        AVOID,
    )
    POPULATION_LABEL = 4096, "a label tells of the population rather than of the star", AVOID, USE
    SPARSE_LABELS = 8192, "the labels lie in their ranges, but where hardly a training star is"
    NOT_AT_REST = 16384, "the spectrum was not shifted to rest, for want of a velocity", AVOID


class Status(IntEnum):
    """Whether a star was computed. Never 0 in a finished store."""

    WAITING = 0
    DONE = 1
    FAILED = 2


class Reason(DescribedName):
    """Why a row of the archive was quarantined: name, and a sentence with the cure."""

    DUPLICATE = (
        "duplicate_source_id",
        "another row of the star is kept, as ingest.repeats says of spectra",
    )
    ARRAY_LENGTH = (
        "wrong_array_length",
        "an array does not have the declared length; check the file's release",
    )
    NOT_A_NUMBER = "text_in_number", "a numeric field holds text; repair or remove the row"
    NO_SOURCE = (
        "not_in_source_table",
        "the star is not in the source table; add the matching source file",
    )
    ALL_MISSING = "no_valid_pixel", "no pixel has a finite flux; nothing can be predicted from it"
    BAD_ID = "bad_source_id", "the source_id is not a positive integer"
    NO_ID = "no_source_id", "the source_id is missing: empty, null, NaN or 0"
    LOST_DIGITS = (
        "source_id_lost_digits",
        "the source_id is a float from 2^53 on, whose last digits are lost; write the column as "
        "64-bit integers, from the table that still has them",
    )
    NO_VELOCITY = (
        "no_velocity",
        "the star has no velocity to shift its spectrum to rest by; give one, or keep such "
        "spectra as they are by ingest.prepare.rest_frame.missing",
    )
    AMBIGUOUS = (
        "ambiguous_crosswalk",
        "the crosswalk leads to several stars, as near and as alike in brightness",
    )
    GRID = "other_grid", "the spectrum stands on another wavelength grid than declared"
    MALFORMED = (
        "malformed_row",
        "the row has more or fewer fields than the header; the file may be cut",
    )
    UNUSABLE_FILE = (
        "unusable_file",
        "no row of this file, or member of a zip archive, was taken; the detail says why",
    )


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
    EMISSION = "emission"
    CARBON = "carbon"
    CONTINUUM = "continuum"
    OTHER_GRID = "other_grid"
    SKY = "sky"
    BLEND = "blend"


LATER_DEFECTS = (
    Defect.EMISSION,
    Defect.CARBON,
    Defect.CONTINUUM,
    Defect.OTHER_GRID,
    Defect.SKY,
    Defect.BLEND,
)
"""Defects that archives are without unless they are asked for; without them an archive is the same
to the last byte as before the simulator knew them."""
