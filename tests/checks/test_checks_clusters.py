"""Magnesium and aluminium of stars of globular clusters, by networks that were trained on fields.

In the field the two abundances go together, in globular clusters against each other (Carretta et
al. 2009, A&A 505, 139). A network that takes aluminium from its own lines finds that out.
"""

import numpy as np
import pytest
from line_survey import build_survey, train

from distcnn.checks import CheckInputs, Verdict, choose_checks
from distcnn.checks.correlations.own_variation import PAIR
from distcnn.checks.sensitivity.lines import known_lines, template
from distcnn.config import ChecksConfig
from distcnn.model import Package

NAMES = ("teff", "feh", "mgfe", "alfe")
WAVELENGTH = np.arange(871.0, 882.0, 0.08)
"""With Mg I 872.0, 873.8 and 880.9 and Al I 877.5 and 877.6 nm."""
STARS, CLUSTER_STARS = 1500, 120


def field(scatter):
    """Labels [N, 4] of field stars, and S/N [N]; aluminium follows magnesium within ``scatter``."""
    rng = np.random.default_rng(31)
    mgfe = rng.normal(0.1, 0.15, STARS)
    alfe = 0.9 * mgfe + scatter * rng.standard_normal(STARS)
    label = np.stack([rng.uniform(4300, 6000, STARS), rng.normal(-0.4, 0.2, STARS), mgfe, alfe], 1)
    return label, rng.uniform(80, 200, STARS)


def with_clusters(label):
    """The same stars, of which some have the abundances of clusters; all are held out."""
    label = label.copy()
    label[:CLUSTER_STARS, 2:] = [-0.25, 0.6]
    label[:CLUSTER_STARS, 2:] += 0.03 * np.random.default_rng(32).standard_normal(
        (CLUSTER_STARS, 2)
    )
    return label


def observed(label, snr, seed):
    """Flux and error [N, P] with lines as deep as the abundances make them."""
    lines, (teff, feh, mgfe, alfe) = known_lines(), label.T
    excess = {"Fe": feh, "Mg": feh + mgfe, "Al": feh + alfe}
    flux = 1 - (0.3 + 0.1 * (teff - 5200) / 1000)[:, None] * np.exp(-np.abs(WAVELENGTH - 875.3))
    for element, more in excess.items():
        shape = np.clip(template(lines.of([element]), WAVELENGTH), 0, 1)
        flux *= np.exp(-(0.7 * 10 ** (0.5 * more))[:, None] * shape)
    error = np.repeat(1 / snr[:, None], len(WAVELENGTH), axis=1)
    return flux + error * np.random.default_rng(seed).standard_normal(flux.shape), error


def survey_of(path, label, snr, *, first, labels=None):
    ids = (np.arange(len(label)) + first) * 7919 + 10**12
    made = observed(label, snr, first + 1)
    return build_survey(
        path, label, snr, ids, made=made, grid=WAVELENGTH, names=NAMES, labels=labels
    )


@pytest.fixture(scope="module")
def answers(tmp_path_factory):
    """Rows of the check, by how closely aluminium followed magnesium in training."""
    folder, found = tmp_path_factory.mktemp("clusters"), {}
    (check,) = choose_checks(["correlations"])
    for scatter in (0.2, 0.01):
        label, snr = field(scatter)
        trained = survey_of(folder / f"{scatter}.survey", label, snr, first=0)
        package = Package.load(train(trained, folder / f"{scatter}.package", epochs=20))
        visited = survey_of(folder / f"{scatter}.clusters", with_clusters(label), snr, first=STARS)
        inputs = CheckInputs(package, visited, ChecksConfig(stars=STARS, injected_stars=STARS))
        found[scatter] = check.answer(inputs)
    return found


def contrast(answer):
    (row,) = [row for row in answer.rows if row["test"] == PAIR]
    return row


def test_a_network_that_reads_both_elements_recovers_the_stars_of_clusters(answers):
    row = contrast(answers[0.2])
    assert row["label"] == "mgfe alfe"
    assert row["stars"] >= 10
    assert row["value"] > 0.6
    assert not row["fails"]


def test_a_network_that_takes_aluminium_from_magnesium_fails(answers):
    row = contrast(answers[0.01])
    assert row["value"] < 0.3
    assert row["fails"]
    assert answers[0.01].verdict is Verdict.FAILED
