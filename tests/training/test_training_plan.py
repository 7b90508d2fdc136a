"""Plan, claim and resume: what is decided before a training begins, and who may begin it."""

import multiprocessing
import os

import pytest
from rank_runs import small
from typer.testing import CliRunner

from distcnn.cli import app
from distcnn.config import DistributeConfig, QualityConfig, TrainConfig
from distcnn.errors import DeviceError, FingerprintMismatch, TrainingError
from distcnn.executor import SerialExecutor, TaskResult
from distcnn.model import InputSpec
from distcnn.training import plan_training, train_package
from distcnn.training.data.labelled import MAX_STARS_IN_MEMORY
from distcnn.training.partial import locked
from distcnn.training.plan import Workload, make_plan

SPEC = InputSpec(800, 110, ("g", "bp", "rp"), True, "x", ("teff", "logg", "mh"))


def decide(members, workers, *, finished=(), stars=30_000, gang=True, pinned=None, **distribute):
    counts = {"train": stars, "validation": 40_000, "calibration": 10, "test": 10}
    config = TrainConfig(members=members, distribute=DistributeConfig(device="cpu", **distribute))
    size = Workload(members, tuple(finished), counts, SPEC)
    return make_plan(size, config, workers=workers, gang=gang, pinned=pinned)


@pytest.mark.parametrize(
    ("members", "workers", "strategy", "reason"),
    [
        (8, 2, "ensemble", "keep 2 workers busy"),
        (8, 8, "ensemble", "keep 8 workers busy"),
        (1, 1, "ensemble", "one worker"),
        (1, 8, "data", "would leave some of 8 workers idle"),
        (2, 16, "data", "would leave some of 16 workers idle"),
    ],
)
def test_members_against_workers(members, workers, strategy, reason):
    plan = decide(members, workers)
    assert plan.strategy == strategy
    assert reason in plan.reason


def test_what_speaks_against_groups():
    assert "sooner than" in decide(1, 8, stars=500).reason
    assert "cannot be had together" in decide(1, 8, gang=False).reason
    assert decide(1, 8, strategy="ensemble").strategy == "ensemble"


@pytest.mark.parametrize(
    ("wanted", "gpus", "device", "strategy"),
    [
        ("auto", 1, "cuda", "fused"),
        ("auto", 0, "cpu", "ensemble"),
        ("auto", None, "cpu", "ensemble"),
        ("cuda", None, "cuda", "fused"),
        ("cpu", 4, "cpu", "ensemble"),
    ],
)
def test_gpus_are_those_of_the_workers_and_not_of_this_machine(
    wanted, gpus, device, strategy, monkeypatch
):
    monkeypatch.setattr("distcnn.gpus.count_gpus", lambda: 0 if gpus else 8)
    config = TrainConfig(members=8, distribute=DistributeConfig(device=wanted))
    counts = dict.fromkeys(("train", "validation", "calibration", "test"), 1000)
    size = Workload(8, (), counts, SPEC)
    plan = make_plan(size, config, workers=2, gang=True, pinned=None, gpus=gpus)
    assert (plan.device, plan.strategy) == (device, strategy)


def test_a_gpu_is_asked_for_and_the_workers_have_none():
    config = TrainConfig(members=8, distribute=DistributeConfig(device="cuda"))
    counts = dict.fromkeys(("train", "validation", "calibration", "test"), 1000)
    size = Workload(8, (), counts, SPEC)
    with pytest.raises(DeviceError, match="the device asked for is cuda"):
        make_plan(size, config, workers=2, gang=True, pinned=None, gpus=0)


def test_finished_members_do_not_count():
    assert decide(8, 8, finished=range(7)).strategy == "data"


def test_a_restart_goes_on_with_what_was_decided():
    first = decide(8, 8)
    again = decide(8, 8, finished=range(7), pinned=first.pinned)
    assert (again.strategy, again.sharding) == ("ensemble", first.sharding)
    assert again.reason.startswith("as begun")
    group = decide(1, 8, stars=3_000_000)
    fewer = decide(1, 2, stars=3_000_000, pinned=group.pinned)
    assert fewer.sharding == group.sharding


def test_there_is_a_virtual_rank_for_every_rank():
    assert decide(1, 100).ranks == 8
    assert decide(1, 100, lanes=200).ranks == 100
    assert decide(1, 100, ranks=3).ranks == 3


def test_stars_that_do_not_fit_are_streamed_within_the_memory_given():
    large = decide(8, 8, stars=3_000_000, memory="1 GB")
    assert large.sharding.buffer > 0
    assert large.stars_in_memory * large.workload.star_bytes <= 0.5e9
    assert decide(8, 8, stars=3_000_000, memory="1 GB", stream="never").sharding.buffer == 0
    assert decide(8, 8, stars=1000, stream="always").sharding.buffer > 0
    shared = decide(1, 2, stars=3_000_000, memory="1 GB")
    assert shared.stars_in_memory * shared.workload.star_bytes <= 0.5e9


def test_the_plan_says_what_and_why():
    text = str(decide(2, 16, finished=[1], stars=3_000_000))
    assert "strategy    data: 1 member would leave some of 16 workers idle" in text
    assert "2, 1 to train, finished: 1" in text
    assert "16, 8 ranks per member, one member after the other, on cpu" in text
    assert "train 3,000,000, validation 40,000" in text
    assert (
        f"streamed, 13,500 stars per shuffle buffer; {MAX_STARS_IN_MEMORY:,} of validation" in text
    )


def test_a_dry_run_prints_the_plan_and_begins_nothing(tmp_path, survey):
    asked = ["train", str(survey), str(tmp_path / "package"), "--dry-run", "--cluster", "serial"]
    done = CliRunner().invoke(app, asked)
    assert done.exit_code == 0
    assert "strategy    ensemble: 8 members and one worker" in done.output
    assert list(tmp_path.iterdir()) == []


def test_resuming_nothing_is_refused(tmp_path, survey):
    asked = ["train", str(survey), str(tmp_path / "package"), "--resume", "--cluster", "serial"]
    done = CliRunner().invoke(app, asked)
    assert done.exit_code == 2
    assert "nothing to resume" in done.output
    assert list(tmp_path.iterdir()) == []


class Broken(SerialExecutor):
    """An executor whose items fail, all but the first few."""

    def __init__(self, trains=0):
        self.trains = trains

    def __call__(self, function, items):
        for number, item in enumerate(items):
            if number < self.trains:
                yield TaskResult(item, function(item))
                continue
            yield TaskResult(item, None, TrainingError("the machine is gone"))


def begin_and_break(survey, package, config):
    with pytest.raises(TrainingError, match="machine is gone"):
        train_package(survey, package, config, QualityConfig(), executor=Broken(trains=1))


def test_what_was_begun_is_resumed_but_not_with_another_strategy(tmp_path, survey, config):
    package = tmp_path / "package"
    begin_and_break(survey, package, config)
    plan = plan_training(survey, package, config, workers=64)
    assert plan.reason == "as begun; the weights depend on it"
    other = config.model_copy(update={"distribute": small().distribute})
    with pytest.raises(FingerprintMismatch, match="plan"):
        train_package(survey, package, other, QualityConfig(), executor=SerialExecutor())
    settings = QualityConfig(novelty_components=4)
    done = train_package(survey, package, config, settings, executor=SerialExecutor(), resume=True)
    assert done.members == config.members
    again = train_package(survey, package, config, settings, executor=Broken(), resume=True)
    assert again.digest == done.digest
    with pytest.raises(FingerprintMismatch, match="strategy = ensemble"):
        train_package(survey, package, other, settings, executor=Broken())
    assert "all 2 are trained" in str(plan_training(survey, package, config, workers=2))
    assert [path.name for path in tmp_path.iterdir()] == ["package"]


def hold(partial, ready, over):
    with locked(partial):
        ready.set()
        over.wait()


def test_two_trainings_do_not_share_a_package(tmp_path, survey, config):
    context = multiprocessing.get_context("spawn")
    ready, over = context.Event(), context.Event()
    partial = tmp_path / "package.partial"
    holder = context.Process(target=hold, args=(partial, ready, over))
    holder.start()
    assert ready.wait(600)
    with pytest.raises(TrainingError, match=rf"process {holder.pid} on .*Wait for it or stop it"):
        train_package(
            survey, tmp_path / "package", config, QualityConfig(), executor=SerialExecutor()
        )
    holder.kill()  # a lock does not outlive its holder
    holder.join()
    with locked(partial):
        assert (partial / "lock").read_text().startswith(f"process {os.getpid()} ")
    assert not partial.exists()


def test_a_claim_leaves_the_work_of_others_alone(tmp_path):
    with locked(tmp_path / "p.partial"):
        (tmp_path / "p.partial" / "ledger.jsonl").touch()
    assert [path.name for path in (tmp_path / "p.partial").iterdir()] == ["ledger.jsonl"]


def test_groups_need_workers_that_can_be_had_together(tmp_path, survey):
    class Single:
        workers = 1

        def __call__(self, function, items):
            return iter(())

    with pytest.raises(TrainingError, match="cannot be had together"):
        train_package(survey, tmp_path / "package", small(), QualityConfig(), executor=Single())
