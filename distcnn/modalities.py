"""Modalities: the kinds of input that a network may be given for a star, one row each.

A row says all that the rest must know of a modality: which variables of the survey it is made
of, which branch of the network reads it, its scalar features, the setting that switches it on,
how it is hidden in training, what a flag and the calibration need to know of it, and which flag
tells that it is missing. A further number per star needs a row of
``schema.SURVEY_VARIABLES``, a row here made by ``scalar``, and its two settings in
``config.NetworkConfig`` and ``config.AugmentConfig``; everything else follows from the table.
A spectrum or a vector of its own needs a branch in ``model.networks`` besides.

Legend: N star, W width of a variable (pixels, coefficients, bands).
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from distcnn.arrays import Array
from distcnn.schema import Flag

Bands = tuple[str, ...]


@dataclass(frozen=True)
class Summary:
    """A quantity that a variable is reduced to for flags and calibration.

    Attributes
    ----------
    name : of the quantity, as rules of flags ask for it.
    reduce : (``numpy`` or ``torch``, values [N, W] or [N]) -> the quantity, [N] or [N, W]; one
        function for both libraries, so that hosts and devices reduce alike.
    missing : the quantity as an array -> [N] bool, the star lacks the modality; asked of the
        first summary of a modality only.
    """

    name: str
    reduce: Callable[[Any, Any], Any]
    missing: Callable[[Array], Array] = lambda quantity: np.zeros(len(quantity), bool)


def fraction_present(name: str) -> Summary:
    """Fraction of the numbers that are there; missing if there are none."""
    return Summary(
        name,
        lambda library, values: library.isfinite(values).mean(1, dtype=library.float32),
        lambda fraction: np.asarray(fraction == 0),
    )


LEAST_OF_SERIES = 0.75
"""Fraction of a series of coefficients above which it is used (``model.scaling.xp_shape``)."""


def series_used(name: str) -> Summary:
    """Whether a network uses a series of coefficients, which may be truncated by design.

    It does not where all are zero, or a quarter is missing: a star whose BP or RP is gone.
    """

    def used(library: Any, values: Any) -> Any:
        there = library.isfinite(values)
        enough = there.mean(1, dtype=library.float32) > LEAST_OF_SERIES
        return enough & (there & (values != 0)).any(1)

    return Summary(name, used, lambda there: np.asarray(~there))


def as_given(name: str) -> Summary:
    """The numbers themselves; missing if a single one is."""
    return Summary(
        name,
        lambda library, values: values,
        lambda values: np.asarray(~np.isfinite(values.reshape(len(values), -1)).all(axis=1)),
    )


@dataclass(frozen=True)
class Modality:
    """One kind of input.

    Attributes
    ----------
    name : of its tensor [N, W], in packages too.
    variables : of the survey, the columns of the tensor; without the first the survey lacks it.
    features : names of the scalar features made of it, given the photometric bands.
    title : as reports and messages name it.
    branch : of the network that reads the tensor; "" = its scalar features are all that is read.
    switch : field of ``NetworkConfig`` that switches it on; "" = read whatever the network is.
    dropout : field of ``AugmentConfig``, the probability to hide it in training; "" = never.
    summaries : quantities of its first variable that quality keeps; the first tells whether it is
        missing.
    flag : that says it is missing.
    essential : without it a star counts as damaged.
    lack : name of its lack in the calibration, which then has a scale for such stars; "" = none.
    """

    name: str
    variables: tuple[str, ...]
    features: Callable[[Bands], tuple[str, ...]]
    title: str
    branch: str = ""
    switch: str = ""
    dropout: str = ""
    summaries: tuple[Summary, ...] = ()
    flag: Flag | None = None
    essential: bool = False
    lack: str = ""


def scalar(variable: str, *, flag: Flag) -> Modality:
    """A modality of one number per star, NaN = missing: the number and whether it is there.

    ``switch`` and ``dropout`` are the settings ``variable`` and ``drop_<variable>``.
    """
    return Modality(
        variable,
        variables=(variable,),
        features=lambda bands: (variable, f"has_{variable}"),
        title=variable,
        switch=variable,
        dropout=f"drop_{variable}",
        summaries=(as_given(variable),),
        flag=flag,
        lack=f"no {variable}",
    )


def _photometric(bands: Bands) -> tuple[str, ...]:
    colours, indicators = (f"colour_{band}" for band in bands[1:]), (f"has_{b}" for b in bands)
    return ("magnitude", *colours, *indicators)


def _astrometric(bands: Bands) -> tuple[str, ...]:
    luminosity = ("luminosity", "asinh_luminosity") if bands else ()
    return ("parallax_snr", "log_parallax_error", "has_parallax", *luminosity)


MODALITIES = (
    Modality(
        "flux",
        variables=("flux",),
        # The S/N is that of the spectrum, and a feature only beside it.
        features=lambda bands: ("valid_pixels", "log_snr", "has_snr"),
        title="spectra",
        branch="spectrum",
        switch="spectrum",
        dropout="drop_spectrum",
        summaries=(fraction_present("valid_pixels"),),
        flag=Flag.NO_SPECTRUM,
        essential=True,
    ),
    Modality(
        "xp",
        variables=("xp",),
        features=lambda bands: ("xp_norm", "has_xp"),
        title="xp",
        branch="xp",
        switch="xp",
        dropout="drop_xp",
        summaries=(series_used("has_xp"),),
        flag=Flag.NO_XP,
        lack="no XP",
    ),
    Modality(
        "photometry",
        variables=("photometry",),
        features=_photometric,
        title="photometry",
        switch="photometry",
        summaries=(as_given("photometry"),),
        flag=Flag.NO_PHOTOMETRY,
    ),
    Modality(
        "astrometry",
        variables=("parallax", "parallax_error"),
        features=_astrometric,
        title="parallax",
        switch="photometry",
        dropout="drop_parallax",
        summaries=(as_given("parallax"),),
        flag=Flag.NO_PARALLAX,
        lack="no parallax",
    ),
    Modality(
        "snr",
        variables=("snr",),
        features=lambda bands: (),
        title="S/N",
        summaries=(as_given("snr"),),
    ),
)
"""Every modality. Their order is that of tensors, of scalar features (weights depend on it) and
of random draws in training (results do): new rows go to the end."""

BUILT_IN = ("flux", "xp", "photometry", "astrometry", "snr")
"""Modalities that packages of format 2 always name, with width 0 where they are not used."""


def missing_combinations() -> tuple[str, ...]:
    """Names of what a star may lack and still be calibrated: "no XP", "no parallax", both, ...

    Number k (from 1) lacks the modalities of the bits that are set in k, in the table's order.
    """
    lacks = [row.lack for row in MODALITIES if row.lack]
    return tuple(
        ", ".join(lack for bit, lack in enumerate(lacks) if number >> bit & 1)
        for number in range(1, 1 << len(lacks))
    )
