"""The science checks: one row each. A new one is one file, one row here, one conformance test.

What a check fails at is asked of every value with its sampling error: see ``decision``.
"""

from distcnn.checks.against_errors import against_errors
from distcnn.checks.base import Check
from distcnn.checks.bound.answer import answer_bound
from distcnn.checks.comparison.answers import (
    answer_clusters,
    answer_external,
    answer_halo,
    answer_repeats,
    answer_stability,
)
from distcnn.checks.correlations.answers import answer_correlations
from distcnn.checks.injection.answers import (
    answer_extinction,
    answer_noise,
    answer_resolution,
    answer_velocity,
)
from distcnn.checks.injection.continuum import answer_continuum
from distcnn.checks.predictions.network_gain import answer_network_gain
from distcnn.checks.predictions.quoted_errors import answer_quoted_errors
from distcnn.checks.sensitivity.answer import answer_sensitivity

_TOO_FAR = "a median shift of more than 0.5 quoted errors, or 68 % within more than 1, "

CHECKS = (
    Check(
        "noise",
        "Are labels unbiased, and do their errors hold, when noise is added to spectra?",
        "a bias of more than 0.5 quoted errors, or fewer than 58 % of the stars within the 68 % "
        "error",
        against_errors(answer_noise),
    ),
    Check(
        "velocity",
        "Do labels stand errors of the radial velocity?",
        _TOO_FAR + "at the survey's own velocity errors (2 km/s where it gives none)",
        against_errors(answer_velocity),
    ),
    Check(
        "continuum",
        "Are labels the same in either regime of the continuum, which Gaia switches at G_RVS = 12?",
        _TOO_FAR + "in the other regime, or a jump of residuals there of more than 0.5",
        against_errors(answer_continuum),
    ),
    Check(
        "resolution",
        "Do labels stand a resolution that varies over detectors and fibres?",
        _TOO_FAR + "by a broadening of up to 12 km/s",
        against_errors(answer_resolution),
    ),
    Check(
        "extinction",
        "Do labels stand dust that was not taken off, and its diffuse band?",
        _TOO_FAR + "by the band of up to 0.3 mag of E(B-V), or by 0.03 mag of dust",
        against_errors(answer_extinction),
    ),
    Check(
        "correlations",
        "Are labels taken from their own lines, or from what usually goes with them?",
        "a scatter that grows less than 1.2 times with the spectrum of another star, a slope on "
        "the own truth below 0.5, or less than 50 % of stars within the 68 % error without an "
        "input",
        against_errors(answer_correlations),
    ),
    Check(
        "bound",
        "How near does the scatter come to the least that the photons allow?",
        "a scatter of more than 2 times the bound",
        answer_bound,
    ),
    Check(
        "sensitivity",
        "Does each abundance come from the lines of its own element?",
        "less than 1.2 times the mean sensitivity on the own lines, as much by chance on 5 % of "
        "shifted line lists, or a label that falls when they deepen",
        answer_sensitivity,
    ),
    Check(
        "halo",
        "Are the labels of halo stars right down to [M/H] = -2.4 at 15 < S/N < 25?",
        "a bias below [M/H] = -1 of more than one quoted error",
        against_errors(answer_halo),
    ),
    Check(
        "repeats",
        "Do the labels of a star from several spectra scatter as the quoted errors say?",
        "68 % within more than 1.1 quoted errors",
        against_errors(answer_repeats),
    ),
    Check(
        "external",
        "Do the labels agree with catalogues that training never saw?",
        "an offset or drift beyond the errors and the usual systematics, a slope outside 0.6 to "
        "1.4, or a scatter of more than 2 errors of both",
        against_errors(answer_external),
    ),
    Check(
        "clusters",
        "Have the members of a star cluster the same composition?",
        "a scatter within clusters of more than 1.3 quoted errors",
        against_errors(answer_clusters),
    ),
    Check(
        "stability",
        "Would another training, with other seeds and another split, say the same?",
        "68 % of the changes within more than 1 quoted error, or 0.5 in the median",
        against_errors(answer_stability),
    ),
    Check(
        "quoted-errors",
        "Do the quoted errors hold in every bin of S/N?",
        "a fraction outside report.coverage_band",
        against_errors(answer_quoted_errors),
    ),
    Check(
        "network-gain",
        "Is the network better than simpler methods?",
        "a baseline with a smaller robust scatter",
        answer_network_gain,
    ),
)
