import numpy as np
import pytest
import torch

from distcnn.model.networks.covariance import pairs
from distcnn.training.data.tensors import Scaled
from distcnn.training.distillation.agreement import ScoredPredictions, student_agreement
from distcnn.training.distillation.teacher import DISTILLATION, distillation_loss, split_answers

LABELS, CORRELATION_WEIGHT = 3, 3


def make_answers(stars=200, seed=4):
    rng = np.random.default_rng(seed)
    noise, scatter = rng.uniform(0.05, 0.3, (2, stars, LABELS))
    parts = [
        rng.normal(0, 1, (stars, LABELS)),
        noise,
        scatter,
        rng.uniform(-0.5, 0.5, (stars, 3)),
    ]
    return torch.tensor(np.hstack(parts), dtype=torch.float64)


def stars_of(answers):
    empty = torch.empty(len(answers), 0)
    known = torch.ones(len(answers), LABELS)
    return Scaled(empty, empty, empty, empty, answers, empty, known, empty)


def rows_of(answers):
    """What a student gives that has learned everything."""
    label, noise, scatter, correlation = split_answers(answers, LABELS)
    matrix = torch.eye(LABELS, dtype=answers.dtype).repeat(len(answers), 1, 1)
    for number, (row, column) in enumerate(pairs(LABELS)):
        matrix[:, row, column] = matrix[:, column, row] = correlation[:, number]
    return [torch.stack([label] * 2), torch.stack([noise, scatter]), torch.stack([matrix] * 2)]


def test_who_has_learned_everything_loses_nothing():
    answers = make_answers()
    assert distillation_loss(rows_of(answers), stars_of(answers)) == pytest.approx(0, abs=1e-9)


@pytest.mark.parametrize("part", [0, 1, 2])
def test_whatever_differs_costs(part):
    answers = make_answers()
    rows = rows_of(answers)
    rows[part] = rows[part] * 1.1
    assert DISTILLATION.training(rows, stars_of(answers)) > 0.01


def test_a_label_counts_in_units_of_its_error_and_mildly_where_it_is_far_off():
    answers = make_answers(2)
    _, noise, scatter, _ = split_answers(answers, LABELS)
    rows, stars = rows_of(answers), stars_of(answers)
    right = rows[0]
    losses = []
    for far in (0.1, 100.0):
        rows[0] = right + far * torch.hypot(noise, scatter)
        losses.append(float(distillation_loss(rows, stars)) / (2 * LABELS))
    assert losses[0] == pytest.approx(0.1**2 / 2, rel=0.01)
    assert losses[1] == pytest.approx(99, rel=0.01)


def test_widths_are_right_in_the_mean_square():
    """One width for many answers: the best is their root mean square."""
    answers = make_answers(500)
    rows, stars = rows_of(answers), stars_of(answers)
    noise = split_answers(answers, LABELS)[1]
    wanted = noise.square().mean(dim=0).sqrt()

    def loss(width):
        return float(
            distillation_loss(
                [rows[0], torch.stack([width.expand_as(noise), rows[1][1]]), rows[2]], stars
            )
        )

    assert loss(wanted) < min(loss(0.98 * wanted), loss(1.02 * wanted))


def judged(label, error, scatter, flags, width_95=2.0):
    return ScoredPredictions(
        *(np.asarray(v, float)[:, None] for v in (label, error, scatter)),
        np.asarray(flags, np.uint32),
        np.array([width_95]),
    )


def test_the_price_counts_what_was_lost():
    reference = np.array([1.0, 2, 3, 4, np.nan])[:, None]
    truth = reference[:, 0].copy()
    truth[4] = 5.0
    teacher = judged(
        truth + np.array([0.1, -0.1, 0.1, -0.1, 0]), [0.1] * 5, [1, 2, 3, 4, 5], [16, 0, 0, 0, 0]
    )
    student = judged(
        truth + np.array([0.2, -0.2, 0.2, -0.2, 9]), [0.2] * 5, [1, 2, 4, 3, 5], [16, 16, 0, 0, 0]
    )
    agreement = student_agreement(student, teacher, reference, np.full((5, 1), np.nan), ["teff"])
    (row,) = agreement["labels"]
    assert row["stars"] == 4
    assert row["ratio"] == pytest.approx(2)
    assert row["apart"] == pytest.approx(1)
    assert row["error_ratio"] == pytest.approx(2)
    assert row["within_95"] == row["within_95_teacher"] == 1
    assert row["scatter_correlation"] == pytest.approx(0.8)
    assert [list(flag.values())[1:] for flag in agreement["flags"]] == [[2, 1, 1]]


def test_the_interval_of_95_percent_is_as_wide_as_the_package_says():
    reference = np.zeros((4, 1))
    off = [0.5, 1.5, 2.5, 3.5]
    wide = judged(off, [1] * 4, [1, 2, 3, 4], [0] * 4, width_95=3.0)
    narrow = judged(off, [1] * 4, [1, 2, 3, 4], [0] * 4)
    (row,) = student_agreement(wide, narrow, reference, np.zeros((4, 1)), ["teff"])["labels"]
    assert (row["within_95"], row["within_95_teacher"]) == (0.75, 0.5)


def test_stars_without_references_have_no_price():
    one = judged([1.0], [0.1], [1.0], [0])
    agreement = student_agreement(one, one, np.full((1, 1), np.nan), np.zeros((1, 1)), ["teff"])
    assert agreement["labels"] == [{"label": "teff", "stars": 0}]
    assert agreement["flags"] == []
