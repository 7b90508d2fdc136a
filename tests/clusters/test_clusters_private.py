"""Dask still has the private parts that are used of it, with the meaning they are used in."""

import inspect
from multiprocessing import forkserver
from pathlib import Path

from dask._task_spec import Task
from distributed import Semaphore, SpecCluster
from distributed.scheduler import DEFAULT_EXTENSIONS
from distributed.spans import SpansSchedulerExtension
from distributed.utils import LoopRunner, get_mp_context

import distcnn
from distcnn.clusters.dask_workers.private import ForgetfulSpans, scheduler_extensions


def test_a_task_can_be_marked_as_one_that_waits_at_the_scheduler():
    assert "_data_producer" in inspect.signature(Task.__init__).parameters
    assert Task("key", len, b"", _data_producer=True).data_producer


def test_spans_are_told_of_graphs_by_the_argument_that_is_left_out():
    names = [*inspect.signature(SpansSchedulerExtension.observe_tasks).parameters]
    assert names == [*inspect.signature(ForgetfulSpans.observe_tasks).parameters]


def test_the_extensions_of_a_scheduler_are_those_of_dask_without_stealing():
    assert {"stealing", "spans"} <= set(DEFAULT_EXTENSIONS)
    assert set(scheduler_extensions()) == set(DEFAULT_EXTENSIONS) - {"stealing"}


def test_a_lease_is_renewed_by_a_timer_that_can_be_stopped():
    assert "refresh_callback" in inspect.getsource(Semaphore)


def test_clusters_are_known_from_their_beginning_and_their_loops_can_be_stopped():
    source = inspect.getsource(SpecCluster.__init__)
    assert source.index("_instances.add") < source.index("_loop_runner.start")
    assert "timeout" in inspect.signature(LoopRunner.stop).parameters


def test_what_a_fork_server_imports_can_be_left_to_us_and_it_can_be_stopped():
    assert "not _forkserver_preload_set" in inspect.getsource(get_mp_context)
    assert {"_stop", "_forkserver_pid"} <= {*dir(forkserver._forkserver)}


def test_private_parts_of_dask_are_used_in_one_file_only():
    folder = Path(distcnn.__file__).parent
    names = (
        "dask._",
        "_data_producer",
        "DEFAULT_EXTENSIONS",
        "refresh_callback",
        "_loop_runner",
        "_forkserver_pid",
    )
    found = {
        path.name
        for path in folder.rglob("*.py")
        if any(name in path.read_text(encoding="utf-8") for name in names)
    }
    assert found == {"private.py"}
