import copy
import itertools
import math
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from distcnn.errors import TrainingError
from distcnn.model import InputSpec, build_network, fit_scaling
from distcnn.survey import Store
from distcnn.training import Split
from distcnn.training.data.augment import Augment, SurveyProperties
from distcnn.training.data.labelled import read_labelled
from distcnn.training.data.loader import (
    StreamedDataset,
    TrainLoader,
    derived_seed,
    known_snr,
    rows_of_virtual_rank,
)
from distcnn.training.data.tensors import scale_stars
from distcnn.training.loop import checkpoint
from distcnn.training.loop.checkpoint import CHECKPOINT
from distcnn.training.loop.fit import mean_loss, one_cycle, train_member
from distcnn.training.loop.loss import validation_loss


@pytest.fixture
def member(survey, config):
    """A function that trains one member into a folder and returns its weights."""
    store = Store.open(survey)
    spec = InputSpec.of_survey(store, config.network)
    stars = read_labelled(store, spec, config.split, Split.TRAIN)
    held = read_labelled(store, spec, config.split, Split.VALIDATION)

    def fresh():
        network = build_network(spec, config.network, seed=1)
        fit_scaling(network, stars.inputs, stars.label)
        return network

    network = fresh()
    train, validation = scale_stars(network, stars), scale_stars(network, held)

    def run(folder, *, on_epoch=lambda epoch: None, **changes):
        folder.mkdir(exist_ok=True)
        network = fresh()
        progress = train_member(
            network,
            train,
            validation,
            augment=Augment(config.augment, spec, network, SurveyProperties()),
            config=config.model_copy(update=changes),
            seed=5,
            folder=folder,
            on_epoch=on_epoch,
        )
        return network, progress

    return SimpleNamespace(
        run=run, train=train, validation=validation, spec=spec, stars=stars, network=fresh()
    )


class Killed(Exception):
    pass


def killer(after):
    def report(epoch):
        if epoch["epoch"] == after:
            raise Killed

    return report


def weights(network):
    return {name: tensor.numpy().copy() for name, tensor in network.state_dict().items()}


def assert_same(one, other):
    for name, tensor in weights(one).items():
        np.testing.assert_array_equal(tensor, weights(other)[name], err_msg=name)


@pytest.mark.parametrize("after", [1, 3])
def test_a_killed_member_resumes_to_identical_weights(tmp_path, member, after):
    undisturbed, expected = member.run(tmp_path / "whole")
    with pytest.raises(Killed):
        member.run(tmp_path / "killed", on_epoch=killer(after))
    resumed, progress = member.run(tmp_path / "killed")
    assert progress.epochs == expected.epochs
    assert_same(resumed, undisturbed)


def streamed(member, folder, config, dies_at=10**9):
    """A member whose stars stream past, killed at a call of augmentation if asked."""
    folder.mkdir(exist_ok=True)
    network, spec = copy.deepcopy(member.network), member.spec
    augment = Augment(config.augment, spec, network, SurveyProperties())
    calls, rows = itertools.count(1), np.arange(len(member.train))

    def mortal(stars, pool, generator):
        if next(calls) == dies_at:
            raise Killed
        return augment(stars, pool, generator)

    def read(some):
        return member.train.take(torch.from_numpy(some))

    datasets = {
        number: StreamedDataset(rows_of_virtual_rank(rows, 2, number), read, piece=32, buffer=64)
        for number in range(2)
    }
    loader = TrainLoader(datasets, 2, len(rows), 64, known_snr(member.train.snr), streamed=True)
    progress = train_member(
        network,
        loader,
        member.validation,
        augment=mortal,
        config=config,
        seed=5,
        folder=folder,
        on_epoch=lambda epoch: None,
    )
    return network, progress


@pytest.mark.parametrize("dies_at", [2, 8, 17, 30])
def test_a_member_killed_within_an_epoch_resumes_to_identical_weights(
    tmp_path, member, config, dies_at
):
    distribute = config.distribute.model_copy(update={"checkpoint": 3})
    config = config.model_copy(update={"epochs": 2, "distribute": distribute})
    undisturbed, expected = streamed(member, tmp_path / "whole", config)
    with pytest.raises(Killed):
        streamed(member, tmp_path / "killed", config, dies_at)
    state = checkpoint.load(tmp_path / "killed" / CHECKPOINT)
    # Two virtual ranks: two calls per step; a checkpoint every third of the 8 steps of an epoch.
    done = (dies_at - 1) // 2
    steps = None if state is None else 8 * len(state["epochs"]) + state["step"]
    assert steps == {0: None, 3: 3, 8: 8, 14: 14}[done]
    resumed, progress = streamed(member, tmp_path / "killed", config)
    assert_same(resumed, undisturbed)
    assert [v for _, v in progress.epochs] == [v for _, v in expected.epochs]
    np.testing.assert_allclose(progress.epochs, expected.epochs, rtol=1e-6)


def test_a_damaged_checkpoint_is_not_believed(tmp_path, member):
    undisturbed, _ = member.run(tmp_path / "whole")
    with pytest.raises(Killed):
        member.run(tmp_path / "killed", on_epoch=killer(2))
    path = tmp_path / "killed" / CHECKPOINT
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    assert checkpoint.load(path) is None
    resumed, _ = member.run(tmp_path / "killed")
    assert_same(resumed, undisturbed)


def test_training_lowers_the_validation_loss(tmp_path, member):
    before = mean_loss(member.network, member.validation)
    network, progress = member.run(tmp_path / "m", epochs=12, patience=12, learning_rate=0.01)
    assert progress.validation < before - 0.5
    assert mean_loss(network, member.validation) == pytest.approx(progress.validation, abs=1e-5)


def test_the_best_weights_are_kept_and_patience_ends_training(tmp_path, member):
    _, progress = member.run(tmp_path / "m", epochs=200, patience=2, learning_rate=0.05)
    losses = [validation for _, validation in progress.epochs]
    assert progress.best == int(np.argmin(losses))
    assert len(losses) == progress.best + 3 < 200


def test_a_loss_that_is_not_finite_stops_with_a_cure(tmp_path, member):
    member.train.target[:] = 1e30
    with pytest.raises(TrainingError, match=r"epoch 1 is .*train\.learning_rate"):
        member.run(tmp_path / "m")


def test_missing_labels_have_no_say(member):
    mean, sigma = torch.zeros(4, 3), torch.full((4, 3), 0.5)
    stars = member.train.take(torch.arange(4))
    stars.known[:] = 1.0
    stars.known[1, 2] = 0.0
    before = validation_loss((mean, sigma), stars)
    stars.target[1, 2] = 1e6
    torch.testing.assert_close(validation_loss((mean, sigma), stars), before)


def test_the_loss_is_the_gaussian_likelihood_with_both_errors(member):
    stars = member.train.take(torch.arange(6))
    stars.known[:] = 1.0
    mean, sigma = torch.rand(6, 3), torch.rand(6, 3) + 0.1
    total = (sigma.square() + stars.variance).sqrt()
    expected = -torch.distributions.Normal(mean, total).log_prob(stars.target).sum()
    met = validation_loss((mean, sigma), stars) + 18 * 0.5 * math.log(2 * math.pi)
    torch.testing.assert_close(met, expected)


def test_the_learned_noise_leaves_out_the_error_of_the_references():
    # Residuals of spread 1 around references with error 0.8: the network's own part is 0.6.
    residual = torch.randn(200_000, 1, generator=torch.Generator().manual_seed(1))
    stars = SimpleNamespace(
        target=residual,
        variance=torch.full_like(residual, 0.64),
        known=torch.ones_like(residual),
    )
    grid = torch.linspace(0.3, 1.0, 71)
    losses = [
        float(validation_loss((torch.zeros_like(residual), s.expand_as(residual)), stars))
        for s in grid
    ]
    assert float(grid[int(np.argmin(losses))]) == pytest.approx(0.6, abs=0.02)


def test_the_learning_rate_rises_once_and_falls_to_nearly_nothing():
    rates = [one_cycle(step, 200) for step in range(200)]
    top = int(np.argmax(rates))
    assert rates[top] == pytest.approx(1, abs=0.01)
    assert (np.diff(rates[:top]) > 0).all()
    assert (np.diff(rates[top:]) < 0).all()
    assert rates[0] < 0.1
    assert rates[-1] <= 0.0011


def test_seeds_differ_wherever_a_number_does():
    seeds = {derived_seed(a, b) for a in range(20) for b in range(20)}
    assert len(seeds) == 400


def augmented(member, config, seed=1, **changes):
    nothing = dict.fromkeys(type(config.augment).model_fields, 0)
    nothing |= {"faintest": None, "correlation": None}
    settings = config.augment.model_copy(update=nothing | changes)
    batch = member.train.take(torch.arange(len(member.train)))
    pool = member.train.snr
    return Augment(settings, member.spec, member.network, SurveyProperties())(
        batch, pool, torch.Generator().manual_seed(seed)
    )


def test_no_augmentation_changes_nothing(member, config):
    same = augmented(member, config)
    torch.testing.assert_close(vars(same), vars(member.train))


def test_augmentation_leaves_the_stars_themselves_alone(member, config):
    before = {name: tensor.clone() for name, tensor in vars(member.train).items()}
    augmented(member, config, noise=1.0, drop_xp=0.5, drop_parallax=0.5, drop_pixels=0.1)
    torch.testing.assert_close(vars(member.train), before)


def test_a_hidden_modality_looks_exactly_like_a_missing_one(member, config):
    gone = augmented(member, config, drop_xp=1 - 1e-9, drop_parallax=1 - 1e-9)
    blank = member.stars.inputs.without("xp", "astrometry").tensors()
    scaled = member.network.inputs(blank)
    torch.testing.assert_close(gone.xp, scaled["xp"])
    torch.testing.assert_close(gone.scalars, scaled["scalars"])


def test_added_noise_lowers_the_snr_by_what_it_says(member, config):
    noisy = augmented(member, config, noise=1.0)
    place = member.spec.features.index("log_snr")
    scale = member.network.inputs.feature_scale[place]
    drop = 10 ** ((member.train.scalars - noisy.scalars)[:, place] * scale)
    struck = drop > 1.5
    assert 0.2 < float(struck.float().mean()) < 0.9
    added = (noisy.spectrum - member.train.spectrum)[struck]
    wanted = (drop[struck, None].square() - 1).sqrt() * member.train.noise[struck]
    there = wanted > 0
    pull = added[there] / wanted[there]
    assert float(pull.std()) == pytest.approx(1, abs=0.02)
    assert not added[~there].any()
    assert float(drop.min()) >= 1 - 1e-5
    lowest = float(member.train.snr.min())
    assert float((member.train.snr[:, 0] / drop).min()) >= lowest * 0.999


def test_hidden_pixels_come_in_runs_and_are_counted(member, config):
    hidden = augmented(member, config, drop_pixels=0.1)
    gone = (hidden.spectrum == 0) & (member.train.spectrum != 0)
    assert float(gone.float().mean()) == pytest.approx(0.1, abs=0.03)
    place = member.spec.features.index("valid_pixels")
    network = member.network.inputs
    linear = network.linear(hidden.scalars[:, place])
    raw = linear * network.feature_scale[place] + network.feature_centre[place]
    left = (hidden.spectrum != 0).float().mean(1)
    torch.testing.assert_close(raw, left, atol=0.05, rtol=0)
