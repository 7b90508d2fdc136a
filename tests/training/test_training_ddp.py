"""Groups of ranks as real processes: same weights as one, whatever dies on the way."""

import os
import sys
import threading
from dataclasses import replace
from pathlib import Path

import numpy as np
import psutil
import pytest
import torch
from rank_runs import LIMIT, RankKiller, epochs_reported, ranks_of, small, task_of, until, weights

from distcnn.clusters import open_cluster
from distcnn.config import ClusterConfig
from distcnn.errors import TrainingError
from distcnn.events import Notice
from distcnn.executor import SerialExecutor
from distcnn.training.ddp.launch import train_together
from distcnn.training.ddp.rendezvous import RankLost, interface, rendezvous
from distcnn.training.ddp.worker import RankTask
from distcnn.training.loop.member import run_member

HERE = Path(__file__).parent


def silent(event):
    pass


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory, survey):
    """The member as two ranks train it when nobody disturbs them."""
    task = task_of(survey, tmp_path_factory.mktemp("two"), small(ranks=2))
    result = train_together(task, SerialExecutor(), silent)
    return result, weights(task)


def assert_near(one, other):
    for name, array in one.items():
        np.testing.assert_allclose(array, other[name], rtol=1e-4, atol=2e-6, err_msg=name)


def test_two_ranks_give_the_weights_of_one(tmp_path, survey, undisturbed):
    result, expected = undisturbed
    task = task_of(survey, tmp_path, small(ranks=1))
    alone = train_together(task, SerialExecutor(), silent)
    assert_near(weights(task), expected)
    losses, others = np.array(result.epochs), np.array(alone.epochs)
    np.testing.assert_allclose(losses, others, rtol=1e-4)
    assert not ranks_of(tmp_path)


def test_two_ranks_hold_out_the_fold_that_one_process_does(tmp_path, survey):
    config = small(ranks=2).model_copy(update={"members": 2, "epochs": 2})
    split = config.split.model_copy(update={"method": "folds", "folds": 2})
    folded = config.model_copy(update={"split": split})
    task = replace(task_of(survey, tmp_path / "two", folded), number=1)
    shared = train_together(task, SerialExecutor(), silent)
    alone = replace(task, partial=tmp_path / "one")
    result = run_member(alone)
    assert task.fold == 1
    assert_near(weights(task), weights(alone))
    np.testing.assert_allclose(shared.epochs, result.epochs, rtol=1e-4)
    # Other stars than those of fold 0 or of the one split make other weights.
    other = replace(task, partial=tmp_path / "other", config=config)
    run_member(other)
    with pytest.raises(AssertionError):
        assert_near(weights(task), weights(other))


def rank_one(partial):
    ranks = ranks_of(partial)
    return ranks[1].pid if len(ranks) == 2 else 0


def launcher_of_rank_one(partial):
    ranks = ranks_of(partial, attempt=2)
    return ranks[1].ppid() if len(ranks) == 2 and epochs_reported(partial) > 2 else 0


def test_a_killed_rank_and_a_killed_worker_cost_an_attempt_each(tmp_path, survey, undisturbed):
    reported = []
    task = task_of(survey, tmp_path, small())
    with open_cluster(ClusterConfig(workers=2, dashboard=None)) as executor:
        assassin = RankKiller(tmp_path, (1, rank_one), (2, launcher_of_rank_one))
        assassin.start()
        result = train_together(task, executor, reported.append)
        assassin.join(LIMIT)
    warnings = [e.text for e in reported if isinstance(e, Notice) and e.level == "warning"]
    assert warnings[0] == "member 0: rank 1 on 127.0.0.1 was killed by signal 9" + warnings[0][52:]
    assert "lost its worker" in warnings[1]
    assert not ranks_of(tmp_path)
    assert len(result.epochs) == 8
    assert_near(weights(task), undisturbed[1])


def test_a_killed_client_leaves_nothing_running_and_a_rerun_ends_in_the_same_weights(
    tmp_path, survey, undisturbed, killing
):
    client = killing(
        psutil.Popen(
            [sys.executable, HERE / "killed_client.py", survey, tmp_path / "package"],
            env={**os.environ, "PYTHONPATH": f"{HERE}:{HERE.parents[1]}", "TMPDIR": str(tmp_path)},
            start_new_session=True,
        )
    )
    partial = tmp_path / "package.partial"
    until(
        lambda: epochs_reported(partial) >= 1 and len(ranks_of(partial)) == 2, "two ranks at work"
    )
    family = psutil.Process(client.pid).children(recursive=True)
    client.kill()
    client.wait()
    _, alive = psutil.wait_procs(family, timeout=LIMIT)
    assert alive == []
    task = task_of(survey, partial, small(ranks=2))
    assert (task.folder / "checkpoint.pt").exists()
    train_together(task, SerialExecutor(), silent)
    assert_near(weights(task), undisturbed[1])


def test_two_trainings_at_once_take_turns_on_one_cluster(tmp_path, survey):
    config = small().model_copy(update={"epochs": 2})
    reported: list[str] = []

    def client(name, address):
        def listener(event):
            reported.append(f"{name}: {event.text}")

        with open_cluster(ClusterConfig(backend=address)) as executor:
            train_together(task_of(survey, tmp_path / name, config), executor, listener)

    with open_cluster(ClusterConfig(workers=2, dashboard=None)) as executor:
        names, address = ("one", "two"), executor.client.scheduler.address
        threads = [threading.Thread(target=client, args=(name, address)) for name in names]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(LIMIT)
    assert sorted(reported) == [f"{name}: member 0: 2 ranks begin, attempt 1" for name in names]
    first, second = (weights(task_of(survey, tmp_path / name, config)) for name in names)
    for name, array in first.items():
        np.testing.assert_array_equal(array, second[name])


class Fatal(Exception):
    pass


def test_what_stops_the_driver_stops_the_ranks(tmp_path, survey):
    task = task_of(survey, tmp_path, small(ranks=2))
    seen = []

    class Stopped(SerialExecutor):
        def together(self, function, items):
            def until_it_works(item):
                if item.rank == 0:
                    return function(item)
                (item.folder / "rank_1.here").touch()
                seen.extend(until(lambda: ranks_of(tmp_path), "a rank"))
                raise Fatal

            return super().together(until_it_works, items)

    with pytest.raises(Fatal):
        train_together(task, Stopped(), silent)
    assert seen
    assert not ranks_of(tmp_path)


def test_a_rank_that_keeps_dying_is_given_up_with_its_last_words(tmp_path, survey, monkeypatch):
    monkeypatch.setenv("PYTHONHASHSEED", "no number")  # Python itself refuses to start
    task = task_of(survey, tmp_path, small(ranks=1, attempts=1))
    with pytest.raises(TrainingError, match=r"code 1: Python runtime state.*attempt 2 of 2"):
        train_together(task, SerialExecutor(), silent)
    assert [path.name for path in sorted(task.folder.iterdir())] == ["attempt_1", "attempt_2"]


def test_an_error_of_a_rank_is_the_error_of_the_training(tmp_path, survey):
    config = small(ranks=2).model_copy(update={"learning_rate": 1e30})
    task = task_of(survey, tmp_path, config)
    with pytest.raises(TrainingError, match=r"the loss of epoch \d is .*train\.learning_rate"):
        train_together(task, SerialExecutor(), silent)
    assert len(list(task.folder.glob("attempt_*"))) == 1


def test_a_missing_rank_is_named(tmp_path):
    cpu = torch.device("cpu")
    with (
        pytest.raises(RankLost, match=r"ranks 1, 2 have not come within 0\.3 s"),
        rendezvous(tmp_path, 0, 3, host="127.0.0.1", timeout=0.3, device=cpu),
    ):
        pass
    (tmp_path / "other").mkdir()
    with (
        pytest.raises(RankLost, match=r"rank 0 has not come within 0\.3 s"),
        rendezvous(tmp_path / "other", 1, 3, host="127.0.0.1", timeout=0.3, device=cpu),
    ):
        pass


def test_an_address_that_is_not_ours_has_no_interface():
    assert interface("127.0.0.1").startswith("lo")
    with pytest.raises(TrainingError, match=r"192\.0\.2\.7"):
        interface("192.0.2.7")


def test_a_task_of_a_rank_survives_the_journey(tmp_path, survey):
    task = RankTask(task_of(survey, tmp_path, small(), buffer=7), 2, 1, 3)
    text = task.to_json()
    assert "\n" not in text
    assert RankTask.from_json(text) == task
