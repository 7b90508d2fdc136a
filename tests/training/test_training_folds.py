"""Members trained on folds: who sees whom, and what comes of it."""

import numpy as np
import pytest
from pydantic import ValidationError
from simple_survey import LABELS, build_survey
from test_training_run import Counting, bytes_of, train

from distcnn.config import SplitConfig, TrainConfig
from distcnn.errors import FingerprintMismatch, TrainingError
from distcnn.evaluation.out_of_fold_table import (
    ENSEMBLE,
    OutOfFoldTable,
    read_out_of_fold,
)
from distcnn.model import InputSpec, Package, predict_each
from distcnn.survey import Store
from distcnn.survey.split import NO_FOLD, Split, assign_fold, assign_split
from distcnn.training.data.labelled import DEVELOPMENT, find_rows, read_labelled, summarise_split
from distcnn.training.loop.member import MemberTask
from distcnn.training.out_of_fold import PRIOR_DEGREES, CrossFitted, Moments

FOLDS = 3


@pytest.fixture
def folded(config):
    """Three members on three folds."""
    return on_folds(config, FOLDS)


def on_folds(config, members, **more):
    split = config.split.model_copy(update={"method": "folds", "folds": FOLDS})
    return config.model_copy(update={"members": members, "epochs": 2, "split": split, **more})


@pytest.fixture(scope="module")
def stars():
    return np.arange(20_000) * 7919 + 10**12


@pytest.mark.parametrize("rotate", [0.0, 0.35])
def test_every_star_outside_test_is_held_out_by_one_fold_and_trains_the_others(stars, rotate):
    split = SplitConfig(method="folds", folds=4, rotate=rotate)
    fold = assign_fold(stars, split)
    parts = np.stack([assign_split(stars, split, number) for number in range(4)])
    test = assign_split(stars, split) == Split.TEST
    assert ((fold == NO_FOLD) == test).all()
    assert ((parts == Split.TEST) == test).all()
    held = parts == Split.CALIBRATION
    assert (held.sum(axis=0) == ~test).all()
    assert (held[fold[~test], np.flatnonzero(~test)]).all()
    assert ((parts == Split.TRAIN).sum(axis=0)[~test] >= 2).all()
    share = (parts[:, ~test] == Split.VALIDATION).mean(axis=1)
    assert share == pytest.approx(0.10 / 0.90, abs=0.01)


def test_stars_of_a_group_share_a_fold(tmp_path, stars):
    table = tmp_path / "groups.csv"
    rows = "".join(f"{star},cluster\n" for star in stars[:50])
    table.write_text("source_id,group\n" + rows)
    fold = assign_fold(stars, SplitConfig(method="folds", groups=table))
    assert len(set(fold[:50])) == 1 < len(set(fold[50:]))


def test_a_fold_without_a_member_is_refused():
    with pytest.raises(ValidationError, match="a member or more per fold"):
        TrainConfig(members=4, split=SplitConfig(method="folds", folds=8))


def test_folds_that_leave_nobody_to_train_on_are_refused():
    with pytest.raises(ValidationError, match="leave stars to train on"):
        SplitConfig(method="folds", folds=2, train=0.2, validation=0.5, calibration=0.2)


@pytest.fixture
def folded_package(clean, survey, config, quality):
    """A package of six members on three folds, with its settings; made once."""
    config = on_folds(config, 2 * FOLDS)
    if not (clean / "six").exists():
        train(survey, clean / "six", config, quality)
    return clean / "six", config


@pytest.fixture(scope="module")
def clean(tmp_path_factory):
    return tmp_path_factory.mktemp("folds")


@pytest.fixture
def three(clean, survey, folded, quality):
    """A package of three members on three folds; made once."""
    if not (clean / "three").exists():
        train(survey, clean / "three", folded, quality)
    return clean / "three"


def test_predictions_out_of_fold_are_those_of_members_that_never_saw_the_star(
    survey, folded_package
):
    place, config = folded_package
    package, store = Package.load(place), Store.open(survey)
    folds = [member.fold for member in package.manifest.members]
    assert folds == [number % FOLDS for number in range(config.members)]
    table = read_out_of_fold(place)
    assert table.labels == LABELS
    found = table.methods[ENSEMBLE]
    stars = read_labelled(store, package.spec, config.split, *DEVELOPMENT)
    assert np.array_equal(found.source_id, stars.source_id)
    assert np.array_equal(found.fold, assign_fold(stars.source_id, config.split))
    assert (found.members == 2).all()
    mean, _ = predict_each(package.networks(), stars.inputs)
    for fold in range(FOLDS):
        mine = found.fold == fold
        own = mean[np.array(folds) == fold][:, mine].mean(axis=0)
        assert found.label[mine] == pytest.approx(own, rel=1e-5)
    assert (found.scatter > 0).all()
    assert (found.fewer_members_error < found.scatter).all()


def test_a_label_that_is_poisoned_reaches_no_member_that_predicts_its_star(
    tmp_path, simple, three, folded, quality
):
    label = simple["label"].copy()
    fold = assign_fold(simple["source_id"], folded.split)
    # Labels change places within the fold: the shared centre and width stay what they are.
    mine = np.flatnonzero((fold == 1) & np.isfinite(label).all(axis=1))
    label[mine] = label[np.roll(mine, 1)]
    poisoned = build_survey(tmp_path / "poisoned.zarr", simple | {"label": label})
    train(poisoned, tmp_path / "other", folded, quality)
    clean, other = (Package.load(place) for place in (three, tmp_path / "other"))
    same = [
        one.digest == two.digest
        for one, two in zip(clean.manifest.members, other.manifest.members, strict=True)
    ]
    assert same == [False, True, False]
    before, after = (
        read_out_of_fold(place).methods[ENSEMBLE] for place in (three, tmp_path / "other")
    )
    assert np.array_equal(before.label[before.fold == 1], after.label[after.fold == 1])


def test_poisoned_test_labels_leave_the_package_as_it_was(tmp_path, simple, three, folded, quality):
    label = simple["label"].copy()
    label[assign_split(simple["source_id"], folded.split) == Split.TEST] += 1000
    poisoned = build_survey(tmp_path / "poisoned.zarr", simple | {"label": label})
    train(poisoned, tmp_path / "other", folded, quality)
    clean, other = bytes_of(three), bytes_of(tmp_path / "other")
    assert clean.pop("evaluation.json") != other.pop("evaluation.json")
    assert clean == other


def test_a_training_that_was_stopped_goes_on_member_by_member(
    tmp_path, three, survey, folded, quality
):
    with pytest.raises(TrainingError, match="machine is gone"):
        train(survey, tmp_path / "package", folded, quality, executor=Counting(fail=1))
    again = Counting()
    train(survey, tmp_path / "package", folded, quality, executor=again)
    assert again.tasks == [1]
    assert bytes_of(tmp_path / "package") == bytes_of(three)
    other = folded.model_copy(update={"split": folded.split.held_out()})
    with pytest.raises(FingerprintMismatch):
        train(survey, tmp_path / "package", other, quality)


def test_members_of_one_pass_are_those_trained_one_by_one(tmp_path, three, survey, folded, quality):
    distribute = folded.distribute.model_copy(update={"strategy": "fused"})
    train(survey, tmp_path / "fused", folded.model_copy(update={"distribute": distribute}), quality)
    one, two = (Package.load(place).manifest for place in (three, tmp_path / "fused"))
    assert [m.fold for m in one.members] == [m.fold for m in two.members] == [0, 1, 2]
    for first, second in zip(one.members, two.members, strict=True):
        assert first.validation == pytest.approx(second.validation, abs=0.2)


def test_the_summary_counts_stars_outside_test_once_for_each_use(survey, folded):
    store = Store.open(survey)
    spec = InputSpec.of_survey(store, folded.network)
    plain = summarise_split(store, spec, folded.split.held_out())
    counts = summarise_split(store, spec, folded.split).counts
    outside = sum(plain.counts.values()) - plain.counts["test"]
    assert counts == {
        "train": outside,
        "validation": outside,
        "calibration": outside,
        "test": plain.counts["test"],
    }
    task = MemberTask(survey, store.location.local_path, 4, spec, folded, plain.data)
    assert task.fold == 1
    train_rows = find_rows(store, spec, folded.split, Split.TRAIN, fold=task.fold)
    assert len(task.source.in_memory().train) == len(train_rows)


def test_scatter_and_what_fewer_members_err_more_are_right_on_average(rng):
    """Labels of members with a known spread between seeds and between folds."""
    stars, folds, each, seeds, between = 20_000, 4, 2, 0.3, 0.4
    members = folds * each
    effect = between * rng.standard_normal((folds, stars))
    label = np.repeat(effect, each, axis=0) + seeds * rng.standard_normal((members, stars))
    whole = label.mean(axis=0)
    held = label[:each]
    unseen = label[: 2 * each]
    found = Moments(
        fold=np.zeros(stars, np.int8),
        snr=np.full(stars, 50.0),
        held=np.full(stars, each),
        unseen=np.full(stars, 2 * each),
        label=held.mean(axis=0)[:, None],
        noise_square=np.ones((stars, 1)),
        held_squares=(held.var(axis=0) * each)[:, None],
        unseen_squares=(unseen.var(axis=0) * 2 * each)[:, None],
    )
    split = SplitConfig(method="folds", folds=folds)
    made = CrossFitted([None] * members, [0, 1, 2, 3] * each, split).finish([found])
    assert PRIOR_DEGREES == 4.0
    expected = label.var(axis=0, ddof=1).mean()
    assert np.square(made.scatter).mean() == pytest.approx(expected, rel=0.05)
    excess = held.mean(axis=0).var() - whole.var()
    assert np.square(made.fewer_members_error).mean() == pytest.approx(excess, rel=0.1)


def _of_pairs(rng, stars, spread, snr):
    """Two unseen members, one of them that of the fold; what networks say does not tell spread."""
    label = spread * rng.standard_normal((2, stars))
    one = np.ones(stars, np.int64)
    return Moments(
        fold=np.zeros(stars, np.int8),
        snr=snr,
        held=one,
        unseen=2 * one,
        label=label[0][:, None],
        noise_square=np.ones((stars, 1)),
        held_squares=np.zeros((stars, 1)),
        unseen_squares=(label.var(axis=0) * 2)[:, None],
    )


def test_what_fewer_members_err_more_goes_with_snr_and_no_few_stars_decide(rng):
    stars, split = 4000, SplitConfig(method="folds", folds=4)
    snr = rng.uniform(15, 150, stars)
    spread = 0.3 * (15 / snr) ** 0.5
    found = _of_pairs(rng, stars, np.where(np.arange(stars) % 100, spread, 50 * spread), snr)
    made = CrossFitted([None] * 4, [0, 1, 2, 3], split).finish([found])
    usual = np.arange(stars) % 100 > 0
    for some in (snr < 30, snr > 100):
        excess = np.square(made.fewer_members_error[some & usual]).mean()
        assert excess == pytest.approx(0.75 * np.square(spread[some]).mean(), rel=0.15)


def test_of_what_few_stars_say_of_members_less_is_taken_out(rng):
    split, snr = SplitConfig(method="folds", folds=4), np.full(40, 50.0)
    members = CrossFitted([None] * 4, [0, 1, 2, 3], split)
    made = members.finish([_of_pairs(rng, 40, np.full(40, 0.3), snr)])
    ratio = np.square(made.fewer_members_error / made.scatter)
    assert ratio == pytest.approx(0.75 * (1 - 2 / np.sqrt(40)), rel=1e-4)


def test_a_table_survives_its_bytes(folded_package):
    table = read_out_of_fold(folded_package[0])
    again = OutOfFoldTable.from_bytes(table.to_bytes())
    for name, values in vars(table.methods[ENSEMBLE]).items():
        assert np.array_equal(values, getattr(again.methods[ENSEMBLE], name))


def test_a_package_without_folds_has_no_table(tmp_path, survey, config, quality):
    short = config.model_copy(update={"epochs": 1, "members": 1})
    train(survey, tmp_path / "package", short, quality)
    assert read_out_of_fold(tmp_path / "package") is None
