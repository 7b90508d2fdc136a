"""What every test may use: a seeded generator and the folder of real data."""

import os
import signal
import tempfile
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import numpy as np
import psutil
import pytest
from hypothesis import settings

# A busy machine takes long for an example, and longer for the first one.
settings.register_profile("distcnn", deadline=None, database=None)
settings.load_profile("distcnn")


@pytest.fixture
def rng() -> np.random.Generator:
    """The only source of randomness in tests."""
    return np.random.default_rng(20240101)


@pytest.fixture(scope="session", autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """No test reads or leaves anything in the cache of the user."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DISTCNN_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="session", autouse=True)
def own_temporary_folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """What libraries leave in the temporary folder goes with the folders of the tests."""
    folder = str(tmp_path_factory.mktemp("tmp"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TMPDIR", folder)
        patch.setattr(tempfile, "tempdir", folder)
        yield


@pytest.fixture(scope="session", autouse=True)
def hearing_signals() -> None:
    """A job in the background ignores Ctrl-C; what a test stops by it must not."""
    for number, handler in (
        (signal.SIGINT, signal.default_int_handler),
        (signal.SIGHUP, signal.SIG_DFL),
    ):
        if signal.getsignal(number) is signal.SIG_IGN:
            signal.signal(number, handler)


@pytest.fixture(scope="session")
def object_endpoint() -> Iterator[str]:
    """Address of an S3 server in this process."""
    from object_server import moto_server

    with moto_server() as address:
        yield address


@pytest.fixture
def s3(object_endpoint: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The environment with which ``s3://`` leads to the server; its address."""
    from object_server import credentials

    from distcnn.location import client

    credentials(monkeypatch, tmp_path, object_endpoint)
    client._open.cache_clear()
    yield object_endpoint
    client._open.cache_clear()


@pytest.fixture(scope="session")
def real_data() -> Path:
    """Folder of real data named by DISTCNN_DATA; skips where it is absent."""
    folder = os.environ.get("DISTCNN_DATA")
    if not folder or not Path(folder).is_dir():
        pytest.skip("DISTCNN_DATA names no folder of real data")
    return Path(folder)


@pytest.fixture
def killing() -> Iterator[Callable[[psutil.Popen], psutil.Popen]]:
    """Takes a process that a test has started; it ends with the test, and all below it.

    Workers and ranks whose parent died first are found by the session, if the process has one
    of its own.
    """
    started: list[psutil.Popen] = []

    def take(process: psutil.Popen) -> psutil.Popen:
        started.append(process)
        return process

    yield take
    for process in started:
        end_family(process)


def end_family(process: psutil.Popen) -> None:
    """Kill a process, everything below it, and its session if it leads one."""
    family = [process]
    for one in psutil.process_iter():
        with suppress(psutil.Error, ProcessLookupError):
            if os.getsid(one.pid) == process.pid or process in one.parents():
                family.append(one)
    for one in family:
        kill_unless_tracker(one)
    for stream in (process.stdin, process.stdout, process.stderr):
        if stream is not None:
            stream.close()
    process.wait()
    psutil.wait_procs(family, timeout=60)


def kill_unless_tracker(process: psutil.Process) -> None:
    """Kill it; but Python's helper, which removes the semaphores of the dead, ends by itself."""
    from distcnn.stopping import cleans_up

    with suppress(psutil.Error):
        if not cleans_up(process):
            process.kill()
