"""Where labels come from: gradients against finite differences, lines against lists."""

import json
from copy import deepcopy
from dataclasses import replace

import numpy as np
import pytest
import torch

from distcnn.checks import Verdict
from distcnn.checks.sensitivity.answer import spectrum_rows
from distcnn.checks.sensitivity.gradients import (
    Sensitivity,
    SensitivitySums,
    flux_gradients,
    mean_gradients,
)
from distcnn.checks.sensitivity.lines import (
    covered_lines,
    elements_of,
    in_medium,
    known_lines,
    template,
)
from distcnn.checks.sensitivity.own_lines import judge_own_lines, on_lines, own_line_rows
from distcnn.checks.sensitivity.stellar_types import STELLAR_TYPES, stellar_type
from distcnn.config import NetworkConfig
from distcnn.model import InputSpec, StarInputs, build_network, fit_scaling

LABELS = ("teff", "logg", "mgfe")
RVS = np.linspace(846, 870, 800)


@pytest.fixture(scope="module")
def stars():
    rng = np.random.default_rng(4)
    flux = 1 + 0.05 * rng.standard_normal((40, 160))
    flux[rng.random(flux.shape) < 0.03] = np.nan
    arrays = {
        "flux": flux,
        "xp": rng.standard_normal((40, 4)),
        "photometry": rng.normal(11, 1, (40, 3)),
        "astrometry": rng.uniform(0.1, 1, (40, 2)),
        "snr": rng.uniform(20, 50, (40, 1)),
    }
    return StarInputs({name: value.astype(np.float32) for name, value in arrays.items()})


@pytest.fixture(scope="module", params=["linear", "log"])
def networks(request, stars):
    spec = InputSpec(160, 4, ("g", "bp", "rp"), True, "", LABELS)
    config = NetworkConfig(width=16, hidden=16, flux=request.param)
    rng = np.random.default_rng(5)
    labels = rng.normal((5000, 3, 0), (500, 1, 0.1), (40, 3))
    made = [build_network(spec, config, seed) for seed in range(3)]
    for network in made:
        fit_scaling(network, stars, labels)
        network.eval().requires_grad_(False)
    return made


class TestGradients:
    def test_they_are_the_finite_differences_of_the_mean_over_members(self, networks, stars):
        networks = [deepcopy(network).double() for network in networks]
        batch = {name: tensor.double() for name, tensor in stars.tensors().items()}
        label, gradient = flux_gradients(networks, batch)
        pixel, step = 77, 1e-7
        moved = []
        for sign in (-1, 1):
            there = {**batch, "flux": batch["flux"].clone()}
            there["flux"][:, pixel] += sign * step
            with torch.inference_mode():
                each = torch.stack([network(there)[0] for network in networks])
            moved.append(each.mean(dim=0).numpy())
        slope = (moved[1] - moved[0]) / (2 * step)
        known = np.isfinite(stars["flux"][:, pixel])
        scale = np.array([500, 1, 0.1])
        np.testing.assert_allclose(
            gradient[:, known, pixel].T / scale, slope[known] / scale, rtol=1e-3, atol=1e-6
        )
        np.testing.assert_allclose(label, (moved[0] + moved[1]) / 2, rtol=1e-6)

    def test_missing_pixels_have_none_and_disturb_no_other(self, networks, stars):
        _, gradient = flux_gradients(networks, stars.tensors())
        assert np.isfinite(gradient).all()
        assert (gradient[:, ~np.isfinite(stars["flux"])] == 0).all()

    def test_means_do_not_depend_on_the_batches(self, networks, stars):
        whole = mean_gradients(networks, LABELS, stars.batches(40))
        parts = mean_gradients(networks, LABELS, stars.batches(7))
        assert whole.stars.tolist() == parts.stars.tolist()
        np.testing.assert_allclose(whole.gradient[0], parts.gradient[0], rtol=1e-4, atol=1e-3)
        np.testing.assert_allclose(whole.flux[0], np.nanmean(stars["flux"], axis=0), rtol=1e-5)

    def test_spread_is_that_of_the_stars(self):
        sums = SensitivitySums(("teff",), 2)
        gradient = np.array([[[1.0, 0], [3.0, 0], [5.0, 2]]])
        flux = np.array([[1, np.nan], [1, np.nan], [1, 1.0]])
        sums.add(np.full((3, 1), 5000.0), gradient, flux)
        mean = sums.mean()
        assert mean.gradient[0, 0].tolist() == [3, 2]
        assert mean.spread[0, 0] == pytest.approx([np.std([1, 3, 5]), 0])


class TestStellarTypes:
    def test_each_star_has_the_type_of_its_labels(self):
        label = np.array(
            [[6500, 4.2, 0], [5700, 4.4, 0], [4500, 4.6, 0], [4500, 2, 0], [5000, 2, -2.0]]
        )
        kinds = stellar_type(label, ("teff", "logg", "mh"))
        found = [STELLAR_TYPES[number] for number in kinds]
        assert found == ["F dwarfs", "G dwarfs", "K dwarfs", "giants", "metal-poor"]

    def test_without_temperature_or_gravity_there_are_no_types(self):
        assert stellar_type(np.ones((3, 1)), ("mh",)).tolist() == [-1, -1, -1]


class TestLines:
    @pytest.mark.parametrize(
        ("label", "elements"),
        [
            ("mgfe", ("Mg",)),
            ("mg_fe", ("Mg",)),
            ("feh", ("Fe",)),
            ("ali", ("Li",)),
            ("a_li", ("Li",)),
            ("li1", ("Li",)),
            ("ofe", ("O",)),
            ("alfe", ("Al",)),
            ("bafe", ("Ba",)),
            ("euh", ("Eu",)),
            ("teff", ()),
            ("logg", ()),
            ("age", ()),
            ("av", ()),
        ],
    )
    def test_the_name_of_a_label_tells_its_elements(self, label, elements):
        assert elements_of(label) == elements

    @pytest.mark.parametrize("name", ["alpham", "mh"])
    def test_sums_of_elements_have_the_lines_of_all(self, name):
        assert {"Ca", "Si", "Ti", "Mg"} <= set(elements_of(name))

    @pytest.mark.parametrize(
        ("element", "first", "last", "vacuum_nm"),
        [
            ("Li", 647, 679, 670.9665),
            ("O", 759, 789, 777.408),
            ("Al", 648, 674, 669.787),
            ("Ba", 565, 587, 585.529),
            ("Eu", 648, 674, 664.694),
            ("Mg", 1514, 1696, 1575.329),
            ("Ca", 846, 870, 854.444),
        ],
    )
    def test_lines_that_papers_show_are_in_the_list_in_vacuum(
        self, element, first, last, vacuum_nm
    ):
        mine = known_lines().of([element]).within(first, last)
        assert np.abs(mine.wavelength - vacuum_nm).min() < 0.003 * vacuum_nm / 600

    def test_lines_in_a_gap_between_windows_are_none_and_widths_do_not_grow_beside_it(self):
        grid = np.concatenate([np.arange(648.0, 676.0, 0.02), np.arange(776.0, 779.0, 0.02)])
        lines = covered_lines(grid, "air")
        places = in_medium(lines, "air")
        assert ((places < 676.01) | (places > 775.99)).all()
        assert {"Li", "Al", "Ba", "Eu", "O", "Fe"} <= set(lines.element)
        for element in set(lines.element):
            where = template(lines.of([element]), grid, "air")
            assert (where > 0.01).sum() <= 12 * (lines.element == element).sum()

    def test_no_line_stands_twice(self):
        lines = known_lines()
        pairs = list(zip(lines.element, np.round(lines.wavelength, 3), strict=True))
        assert len(pairs) == len(set(pairs))

    def test_a_grid_in_air_has_its_lines_in_air(self):
        grid = np.arange(670.0, 671.5, 0.005)
        li = known_lines().of(["Li"])
        assert grid[template(li, grid, "air").argmax()] == pytest.approx(670.781, abs=0.004)
        assert grid[template(li, grid, "vacuum").argmax()] == pytest.approx(670.966, abs=0.004)


class TestOwnLines:
    def test_sensitivity_on_the_own_lines_is_told_from_chance(self, rng):
        where = template(known_lines().of(["Ca"]).within(846, 870), RVS)
        noise = 0.02 * rng.standard_normal(len(RVS))
        there, elsewhere = (
            on_lines(noise - where, where),
            on_lines(noise - np.roll(where, 97), where),
        )
        assert there.contrast > 5
        assert there.chance < 0.01
        assert there.response > 0
        assert elsewhere.contrast < 1.2
        assert elsewhere.chance > 0.05

    def test_a_label_drawn_from_its_lines_passes_and_one_from_those_of_others_fails(self, rng):
        made = {
            name: template(known_lines().of([name]).within(846, 870), RVS) for name in ("Mg", "Ti")
        }
        for source, verdict in (("Mg", Verdict.PASSED), ("Ti", Verdict.FAILED)):
            gradient = 0.01 * rng.standard_normal(len(RVS)) - made[source]
            rows = own_line_rows(sensitivity(gradient), RVS)
            answer = judge_own_lines(rows)
            assert answer.verdict is verdict
            assert rows[0]["most"] == source
            json.dumps(rows, allow_nan=False)

    def test_a_label_that_falls_when_its_lines_deepen_fails(self):
        mg = template(known_lines().of(["Mg"]).within(846, 870), RVS)
        answer = judge_own_lines(own_line_rows(sensitivity(mg), RVS))
        assert answer.verdict is Verdict.FAILED
        assert "mgfe" in answer.sentence

    def test_a_range_without_lines_decides_nothing(self):
        grid = np.linspace(700.0, 702.0, 100)
        answer = judge_own_lines(own_line_rows(sensitivity(np.ones(100)), grid))
        assert answer.verdict is Verdict.UNDECIDED


def test_mean_gradients_are_a_table_by_wavelength_without_pixels_that_nobody_has():
    found = sensitivity(np.arange(3.0))
    flux = np.array([[1.0, np.nan, 0.9]])
    rows = spectrum_rows(replace(found, flux=flux), np.array([850.0, 850.1, 850.2]))
    assert [row["wavelength"] for row in rows] == [850.0, 850.2]
    assert [row["mgfe"] for row in rows] == [0.0, 2.0]
    json.dumps(rows, allow_nan=False)


def sensitivity(gradient):
    whole = np.broadcast_to(gradient, (1, 1, len(gradient)))
    return Sensitivity(("mgfe",), ("all stars",), np.array([100]), whole, 0 * whole, whole[0])
