"""Columns of the archive's tables that are written: name, type, unit, UCD, description."""

# One row per column reads better than broken lines.
# ruff: noqa: E501

from dataclasses import dataclass


@dataclass(frozen=True)
class ArchiveColumn:
    """One column of an archive table; ``subtype`` is the element type of an array column."""

    name: str
    datatype: str
    unit: str
    ucd: str
    description: str
    subtype: str = ""


def _columns(*rows: tuple[str, ...]) -> tuple[ArchiveColumn, ...]:
    return tuple(ArchiveColumn(*row) for row in rows)


SOURCE = _columns(
    ("solution_id", "int64", "", "meta.version", "Solution Identifier"),
    ("designation", "string", "", "meta.id;meta.main", "Unique source designation (unique across all Data Releases)"),
    ("source_id", "int64", "", "meta.id", "Unique source identifier (unique within a particular Data Release)"),
    ("ref_epoch", "float64", "yr", "meta.ref;time.epoch", "Reference epoch"),
    ("ra", "float64", "deg", "pos.eq.ra;meta.main", "Right ascension"),
    ("dec", "float64", "deg", "pos.eq.dec;meta.main", "Declination"),
    ("parallax", "float64", "mas", "pos.parallax.trig", "Parallax"),
    ("parallax_error", "float32", "mas", "stat.error;pos.parallax.trig", "Standard error of parallax"),
    ("parallax_over_error", "float32", "", "stat.snr;pos.parallax.trig", "Parallax divided by its standard error"),
    ("astrometric_params_solved", "int16", "", "meta.number", "Which parameters have been solved for?"),
    ("nu_eff_used_in_astrometry", "float32", "um**-1", "em.wavenumber", "Effective wavenumber of the source used in the astrometric solution"),
    ("pseudocolour", "float32", "um**-1", "em.wavenumber", "Astrometrically estimated pseudocolour of the source"),
    ("ruwe", "float32", "", "stat.error", "Renormalised unit weight error"),
    ("phot_g_mean_flux_over_error", "float32", "", "stat.snr;phot.flux;em.opt", "G-band mean flux divided by its error"),
    ("phot_g_mean_mag", "float32", "mag", "phot.mag;em.opt", "G-band mean magnitude"),
    ("phot_bp_mean_flux_over_error", "float32", "", "stat.snr;phot.flux;em.opt.B", "Integrated BP mean flux divided by its error"),
    ("phot_bp_mean_mag", "float32", "mag", "phot.mag;em.opt.B", "Integrated BP mean magnitude"),
    ("phot_rp_mean_flux_over_error", "float32", "", "stat.snr;phot.flux;em.opt.R", "Integrated RP mean flux divided by its error"),
    ("phot_rp_mean_mag", "float32", "mag", "phot.mag;em.opt.R", "Integrated RP mean magnitude"),
    ("phot_bp_rp_excess_factor", "float32", "", "arith.factor;phot.flux;em.opt", "BP/RP excess factor"),
    ("radial_velocity", "float32", "km.s**-1", "spect.dopplerVeloc.opt;em.opt.I", "Radial velocity"),
    ("radial_velocity_error", "float32", "km.s**-1", "stat.error;spect.dopplerVeloc.opt;em.opt.I", "Radial velocity error"),
    ("rv_method_used", "int16", "", "meta.code.class", "Method used to obtain the radial velocity"),
    ("rv_nb_transits", "int16", "", "meta.number", "Number of transits used to compute the radial velocity"),
    ("rv_template_teff", "float32", "K", "stat.fit.param", "Teff of the template used to compute the radial velocity"),
    ("vbroad", "float32", "km.s**-1", "spect.line.broad", "Spectral line broadening parameter"),
    ("grvs_mag", "float32", "mag", "phot.mag;em.opt.I", "Integrated Grvs magnitude"),
    ("rvs_spec_sig_to_noise", "float32", "", "stat.snr", "Signal to noise ratio in the mean RVS spectrum"),
    ("l", "float64", "deg", "pos.galactic.lon", "Galactic longitude"),
    ("b", "float64", "deg", "pos.galactic.lat", "Galactic latitude"),
    ("ecl_lon", "float64", "deg", "pos.ecliptic.lon", "Ecliptic longitude"),
    ("ecl_lat", "float64", "deg", "pos.ecliptic.lat", "Ecliptic latitude"),
    ("non_single_star", "int16", "", "meta.code.status", "Flag indicating the availability of additional information in the various Non-Single Star tables"),
    ("has_xp_continuous", "bool", "", "meta.code", "Flag indicating the availability of mean BP/RP spectrum in continuous representation for this source"),
    ("has_rvs", "bool", "", "meta.code", "Flag indicating the availability of mean RVS spectrum for this source"),
)  # fmt: skip

RVS = _columns(
    ("source_id", "int64", "", "meta.id;meta.main", "Unique source identifier (unique within a particular Data Release)"),
    ("solution_id", "int64", "", "meta.version", "Solution Identifier"),
    ("ra", "float64", "deg", "pos.eq.ra;meta.main", "Right ascension"),
    ("dec", "float64", "deg", "pos.eq.dec;meta.main", "Declination"),
    ("flux", "string", "", "spect;em.opt.I", "Flux array of the mean RVS spectrum, normalised", "float64[null]"),
    ("flux_error", "string", "", "stat.error;spect;em.opt.I", "Error on the flux array of the mean RVS spectrum", "float64[null]"),
    ("combined_transits", "int16", "", "meta.number", "Number of transits combined to produce the mean spectrum"),
    ("combined_ccds", "int16", "", "meta.number", "Number of CCD spectra combined to produce the mean spectrum"),
    ("deblended_ccds", "int16", "", "meta.number", "Number of CCD spectra that were deblended"),
)  # fmt: skip


def _xp_band(band: str) -> tuple[ArchiveColumn, ...]:
    name = band.upper()
    return _columns(
        (f"{band}_basis_function_id", "int16", "", "meta.id", f"Identifier defining the set of basis functions for the {name} spectrum representation"),
        (f"{band}_degrees_of_freedom", "int16", "", "stat.fit.dof", f"Degrees of freedom for the {name} spectrum representation"),
        (f"{band}_n_parameters", "int16", "", "stat.fit.param", f"Number of parameters for the {name} spectrum representation"),
        (f"{band}_n_measurements", "int16", "", "meta.number", f"Number of measurements used for the {name} spectrum generation"),
        (f"{band}_n_rejected_measurements", "int16", "", "meta.number", f"Number of rejected measurements in the {name} spectrum generation"),
        (f"{band}_standard_deviation", "float32", "", "stat.stdev", f"Standard deviation for the {name} spectrum representation"),
        (f"{band}_chi_squared", "float32", "", "stat.fit.chi2", f"Chi squared for the {name} spectrum representation"),
        (f"{band}_coefficients", "string", "", "stat.fit.param", f"Basis function coefficients for the {name} spectrum representation", "float64[null]"),
        (f"{band}_coefficient_errors", "string", "", "stat.error", f"Basis function coefficient errors for the {name} spectrum representation", "float32[null]"),
        (f"{band}_coefficient_correlations", "string", "", "stat.correlation", f"Correlation matrix for {name} coefficients", "float32[null]"),
        (f"{band}_n_relevant_bases", "int16", "", "meta.number", f"Number of bases that are relevant for the representation of this mean {name} spectrum"),
        (f"{band}_relative_shrinking", "float32", "", "stat.fit.param", f"Measure of the relative shrinking of the coefficient vector when truncation is applied for the mean {name} spectrum"),
    )  # fmt: skip


XP = (
    *_columns(
        ("source_id", "int64", "", "meta.id;meta.main", "Unique source identifier (unique within a particular Data Release)"),
        ("solution_id", "int64", "", "meta.version", "Solution Identifier"),
    ),
    *_xp_band("bp"),
    *_xp_band("rp"),
)  # fmt: skip

FILE_STEMS = {"source": "GaiaSource", "rvs": "RvsMeanSpectrum", "xp": "XpContinuousMeanSpectrum"}
COLUMNS = {"source": SOURCE, "rvs": RVS, "xp": XP}
SOLUTION_ID = {"source": 1636148068921376768, "rvs": 5950420259779346465, "xp": 4545469030156206080}
