"""A run in parts: the same bits as one run, whoever comes, dies, repeats or is the last."""

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil
import pytest
from typer.testing import CliRunner

from distcnn import stopping
from distcnn.cli import app
from distcnn.errors import FingerprintMismatch, StoreBusy, UsageError
from distcnn.events import Notice, RegionStored, StageEnded, StageStarted
from distcnn.executor import SerialExecutor
from distcnn.files import FileLock
from distcnn.inference import plan, verify
from distcnn.report.text.inspect import describe
from distcnn.survey import Region, Share, Store, tile
from tests.conftest import end_family
from tests.inference.small import CONFIG, go, go_share, recorded

LIMIT_S = 900.0


def ledgers(folder):
    return sorted(path.name for path in (folder / "predictions.zarr/.distcnn").glob("ledger*"))


def assert_same(folder, made):
    assert recorded(folder) == recorded(made)
    store = Store.open(folder / "predictions.zarr")
    assert {r.name: store.digest(r) for r in store.regions()} == recorded(made)
    assert store.attrs["complete"]
    assert ledgers(folder) == ["ledger.jsonl"]
    assert verify(folder / "predictions.zarr", CONFIG).failed == 0


def test_shares_part_the_regions_evenly():
    regions = tile(1000, shard=7)
    for count in (1, 2, 16, 200):
        shares = [list(Share(element + 1, count).of(regions)) for element in range(count)]
        assert sorted(region for share in shares for region in share) == list(regions)
        assert max(map(len, shares)) - min(map(len, shares)) <= 1
    assert next(Share.parse("2/3").of(regions)) == Region(7, 14)


@pytest.mark.parametrize("text", ["0/4", "5/4", "1/0", "4", "-1/4", "a/b", "1/2/3", ""])
def test_a_share_that_cannot_be_is_refused_with_words(text):
    with pytest.raises(UsageError, match="i from 1 to"):
        Share.parse(text)


def slurm(**values):
    return {f"SLURM_ARRAY_TASK_{name.upper()}": str(value) for name, value in values.items()}


def test_a_slurm_array_may_count_from_any_number():
    assert Share.of_slurm(slurm(id=0, min=0, max=3, count=4)) == Share(1, 4)
    assert Share.of_slurm(slurm(id=8, min=5, max=8, count=4)) == Share(4, 4)
    with pytest.raises(UsageError, match="without gaps"):
        Share.of_slurm(slurm(id=3, min=3, max=7, count=2))
    with pytest.raises(UsageError, match="outside of a Slurm job array"):
        Share.of_slurm({})


def test_elements_one_after_the_other_give_the_bits_of_one_run(inputs, made):
    first, second, third = (go_share(inputs, f"{element}/3") for element in (3, 1, 2))
    assert [first.left, second.left, third.left] == [4, 2, 0]
    assert [first.whole, second.whole] == [None, None]
    assert (third.whole.stars, third.whole.merged) == (150, 5)
    assert "2 regions of other elements" in str(second)
    assert_same(inputs, made)


def test_one_more_call_without_an_array_does_what_is_left(inputs, made):
    go_share(inputs, "2/3")
    done = go(inputs)
    assert (done.resumed, done.merged) == (2, 2)
    assert_same(inputs, made)


def test_an_element_goes_on_after_a_run_that_was_stopped(inputs, made):
    def stop(event):
        if isinstance(event, RegionStored):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        go(inputs, listener=stop)
    first, second = go_share(inputs, "1/2"), go_share(inputs, "2/2")
    assert (first.resumed, second.left) == (1, 0)
    assert_same(inputs, made)


def test_a_repeated_element_computes_nothing_again(inputs):
    go_share(inputs, "1/3")
    events = []
    again = go_share(inputs, "1/3", listener=events.append)
    assert (again.resumed, again.regions, again.stars) == (2, 2, 64)
    assert [event.text for event in events if isinstance(event, Notice)] == [
        "element 1/3 has all of its regions; nothing to do"
    ]
    assert not any(isinstance(event, RegionStored) for event in events)
    assert len(ledgers(inputs)) == 1


def test_the_number_of_elements_may_change(inputs, made):
    go_share(inputs, "1/4")
    go_share(inputs, "1/2")
    last = go_share(inputs, "2/2")
    assert last.whole.merged == 5
    assert_same(inputs, made)


def test_progress_counts_the_stars_of_the_element(inputs):
    events = []
    go_share(inputs, "1/3", listener=events.append)
    started = next(event for event in events if isinstance(event, StageStarted))
    ended = next(event for event in events if isinstance(event, StageEnded))
    assert (started.total, started.done, ended.facts["stars"]) == (64, 0, 64)


def test_an_element_without_regions_is_done(inputs):
    assert go_share(inputs, "7/9").regions == 0


def test_elements_share_the_engine_and_the_batches_of_the_first(inputs):
    go_share(inputs, "1/3")
    chosen = Store.open(inputs / "predictions.zarr").attrs
    events = []
    go_share(inputs, "2/3", listener=events.append)
    after = Store.open(inputs / "predictions.zarr").attrs
    assert after["engine"] == chosen["engine"]
    assert after["batching"] == chosen["batching"]
    assert not any("Engines on" in e.text for e in events if isinstance(e, Notice))


def test_other_settings_may_not_take_part(inputs):
    go_share(inputs, "1/3")
    with pytest.raises(FingerprintMismatch, match=r"batch = 16: expected batch = 8"):
        go_share(inputs, "2/3", CONFIG.model_copy(update={"batch": 8}))


class During(SerialExecutor):
    """Does something else before every call."""

    def __init__(self, other):
        super().__init__()
        self.other = other

    def __call__(self, function, tasks):
        self.other()
        return super().__call__(function, tasks)


def test_a_whole_run_and_elements_do_not_mix(inputs):
    refused = []

    def also(work):
        def go_too():
            with pytest.raises(StoreBusy) as error:
                work()
            refused.append(str(error.value))

        return During(go_too)

    go_share(inputs, "1/3", executor=also(lambda: go(inputs)))
    go_share(inputs, "2/3", executor=also(lambda: go_share(inputs, "2/3")))
    go(inputs, executor=also(lambda: go_share(inputs, "3/3")))
    assert any("is being written by another run (process" in text for text in refused)
    assert any("element 2/3 is at work already (process" in text for text in refused)
    assert any("is being written by a whole run (process" in text for text in refused)


def test_an_element_waits_for_the_one_that_makes_the_store(inputs, made):
    folder = FileLock.acquire(inputs / ".predictions.zarr.lock.partial")
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(go_share, inputs, "1/1")
        with pytest.raises(TimeoutError):
            waiting.result(timeout=1.0)
        folder.remove()
        assert waiting.result(timeout=LIMIT_S).whole.merged == 5
    assert_same(inputs, made)


def test_inspect_tells_which_elements_are_done(inputs):
    go_share(inputs, "1/4")
    go_share(inputs, "3/4")
    text = describe(inputs / "predictions.zarr")
    assert "no, 3 of 5 regions" in text
    assert "array of 4    elements done: 1 3" in text
    assert "element 2/4: 0 of 1 regions" in text


def test_a_plan_tells_the_share(inputs):
    at = [inputs / name for name in ("package", "survey.zarr", "predictions.zarr")]
    whole, share = plan(*at, CONFIG), plan(*at, CONFIG, share=Share(2, 3))
    assert (whole.regions, share.regions, share.stars_waiting) == (5, 2, 54)
    assert share.bytes_to_write < whole.bytes_to_write
    assert "element 2 of 3: one region in 3, from number 2" in str(share)
    go_share(inputs, "2/3")
    assert plan(*at, CONFIG, share=Share(2, 3)).waiting == 0
    assert plan(*at, CONFIG).done == 2


def command(folder, *options):
    at = [folder / name for name in ("package", "survey.zarr", "predictions.zarr")]
    sets = ["--set", "predict.batch=16", "--set", "predict.precision=float32"]
    return ["predict", *map(str, at), *sets, *options]


def test_the_command_line_takes_a_share(inputs, monkeypatch):
    monkeypatch.setattr(stopping, "install", lambda: None)
    run = CliRunner().invoke
    assert "element 2 of 3" in run(app, command(inputs, "--array", "2/3", "--dry-run")).output
    wrong = run(app, command(inputs, "--array", "4/3"))
    assert wrong.exit_code == 2
    assert "--array 4/3: expected i/N with i from 1 to N" in wrong.output
    both = run(app, command(inputs, "--array", "1/3", "--restart"))
    assert both.exit_code == 2
    assert "would remove the work of the others" in both.output


@pytest.mark.slow
def test_elements_at_the_same_time_make_one_store_and_one_of_them_completes_it(inputs, made):
    started = [
        psutil.Popen(
            [sys.executable, "-m", "distcnn", *command(inputs, "--array", f"{element}/3")],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env=os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(Path.cwd())},
        )
        for element in (1, 2, 3)
    ]
    try:
        texts = [one.communicate(timeout=LIMIT_S)[0] for one in started]
    finally:
        for one in started:
            end_family(one)
    assert [one.returncode for one in started] == [0, 0, 0], texts
    assert sum("Engines on" in text for text in texts) == 1
    assert sum("is sound" in text for text in texts) == 1
    assert_same(inputs, made)


WITHOUT_DASK = """
import sys
class Block:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {"dask", "distributed", "dask_jobqueue"}:
            raise ModuleNotFoundError(name, name=name)
sys.meta_path.insert(0, Block())
from distcnn.__main__ import main
main()
"""


@pytest.mark.slow
def test_an_element_needs_no_dask(inputs, made):
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_DASK, *command(inputs, "--array", "1/1")],
        capture_output=True,
        text=True,
        env=os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(Path.cwd())},
        timeout=LIMIT_S,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert_same(inputs, made)
