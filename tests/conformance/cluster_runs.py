"""Conformance kit of clusters, second part: whole commands, as a user types them.

A backend has a file of tests of its own with the fixture ``site``: an object of a subclass of
``Site``, which says how a command is run there, and how to break things. What a backend cannot
do (or cannot be made to do here) is skipped with the reason that ``Site`` gives.

    @pytest.fixture(scope="module")
    def site(tmp_path_factory):
        with slurm_running(tmp_path_factory.mktemp("slurm")) as folder:
            yield SlurmSite(folder, "slurm")

    class TestSlurm(RunChecks, LossChecks, RefusalChecks, StageChecks): ...

The other fixtures are those of ``tests/clusters/conftest.py``.

Every check is one method, so that the table of backends and checks can be printed from a run
(``tests/conformance/kit_table.py``).
"""

import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import numpy as np
import psutil
import pytest
import yaml
from safetensors.numpy import load_file

from distcnn.config import NetworkConfig
from distcnn.survey import Store
from tests.conftest import end_family
from tests.inference.small import make_package, make_survey
from tests.ingest.tiny_archive import TinyArchive
from tests.training.simple_survey import build_survey, simple_stars

ROOT = Path(__file__).parents[2]
LIMIT_S = 600.0
"""Longest wait for a command, on a machine that is busy with other things."""
STARS, REGIONS = 960, 30
EARLY = 4
"""Regions that are stored when something is broken: the run is well begun and far from its end."""
SETTINGS = {
    "predict": {"engine": "eager", "precision": "float32", "batch": 16},
    "train": {
        "members": 2,
        "epochs": 3,
        "patience": 3,
        "batch": 32,
        "precision": "float32",
        "network": {"width": 8, "hidden": 8},
        "split": {"train": 0.6, "validation": 0.15, "calibration": 0.15},
    },
}


class Site:
    """Where a backend runs, as the kit needs it.

    Parameters
    ----------
    folder : a folder that commands and workers see under the same path.
    cluster : what ``--cluster`` is given.
    """

    command_prefix: Sequence[str] = ()
    """In front of every command: ``ip netns exec NAME``."""
    environment: Mapping[str, str] = {}
    """Further variables of commands."""
    workers = 2
    """How many it is configured to have."""

    def __init__(self, folder: Path, cluster: str) -> None:
        self.folder, self.cluster = folder, cluster

    def leftovers(self) -> list[str]:
        """What is left of runs that have ended: jobs, pods, processes, files; each as text."""
        raise NotImplementedError

    def kill_worker(self) -> None:
        """Kill one worker process (a job, a pod) of the run that is going on."""
        pytest.skip("no worker can be killed here")

    def kill_all_workers(self) -> None:
        """Kill all of them; whoever replaces workers at this backend does so."""
        pytest.skip("no worker can be killed here")

    def kill_scheduler(self) -> None:
        """Kill the scheduler of the run that is going on."""
        pytest.skip("the scheduler cannot be killed without the command")

    def after_scheduler_lost(self) -> None:
        """Put things right where the user has to before the command is repeated."""

    def strange_workers(self, first_on_path: Path) -> AbstractContextManager[str]:
        """Workers whose Python looks into a folder first; gives what ``--cluster`` is given."""
        pytest.skip("workers have the environment of the command here")

    def blind_workers(self, folder: Path) -> AbstractContextManager[str]:
        """Workers that do not see a folder; gives what ``--cluster`` is given."""
        pytest.skip("workers see every folder of the command here")


class Run:
    """A command that goes on, in a session of its own."""

    def __init__(self, site: Site, words: Sequence[str]) -> None:
        self.process = psutil.Popen(
            [*site.command_prefix, sys.executable, "-W", "ignore", "-m", "distcnn", *words],
            cwd=site.folder,
            env={
                **os.environ,
                "PYTHONPATH": f"{ROOT}:{ROOT / 'tests'}",
                "OMP_NUM_THREADS": "1",
                **site.environment,
            },
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        self.output = ""

    def end(self) -> int:
        """Wait for the end; returns the exit code."""
        self.output += self.process.communicate(timeout=LIMIT_S)[0]
        return int(self.process.returncode)

    def interrupt(self) -> None:
        """Ctrl-C in a terminal reaches every process of the session."""
        os.killpg(self.process.pid, signal.SIGINT)


@contextmanager
def begun(site: Site, *words: object) -> Iterator[Run]:
    """A command; nothing of it is left at exit, however the test ends."""
    run = Run(site, [str(word) for word in words])
    try:
        yield run
    finally:
        if run.process.returncode is None:
            end_family(run.process)


def done(site: Site, *words: object, code: int = 0) -> str:
    """Run a command to its end; returns what it printed."""
    with begun(site, *words) as run:
        assert run.end() == code, run.output
        return run.output


def until(
    condition: Callable[[], object], run: Run | None = None, seconds: float = LIMIT_S
) -> None:
    """Wait for something that other processes do."""
    deadline = time.monotonic() + seconds
    while not condition():
        if run is not None and run.process.poll() is not None:
            raise AssertionError(f"the command has ended: {run.end()}, {run.output}")
        assert time.monotonic() < deadline, "nothing came"
        time.sleep(0.05)


def events(journal: Path) -> list[dict]:
    """What a run has told so far."""
    if not journal.exists():
        return []
    lines = journal.read_text().splitlines(keepends=True)
    return [json.loads(line) for line in lines if line.endswith("\n")]


def stored(journal: Path) -> list[str]:
    """Names of the regions that are stored."""
    return [event["region"] for event in events(journal) if event["event"] == "RegionStored"]


def chunks(store: Path) -> dict[str, str]:
    """Digest of every chunk of a store, by its name."""
    return {
        str(path.relative_to(store)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(store.rglob("*"))
        if path.is_file() and "c" in path.relative_to(store).parts
    }


@pytest.fixture(scope="session")
def products(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Survey, package, archive and conf, with what ``serial`` makes of them; made once."""
    folder = tmp_path_factory.mktemp("kit")
    network = NetworkConfig(width=128, hidden=256)
    store = make_survey(folder / "survey.zarr", stars=STARS)
    make_package(folder / "package", store, members=12, network=network)
    build_survey(folder / "labelled.zarr", simple_stars(512))
    TinyArchive(folder / "archive").write()
    (folder / "my.yaml").write_text(yaml.safe_dump(SETTINGS))
    serial = Site(folder, "serial")
    done(serial, *cluster_words(serial, folder, "serial"))
    return folder


@pytest.fixture(scope="module")
def inputs(products: Path, site: Site) -> Path:
    """The folder of the site, with survey, package, archive and conf."""
    target = site.folder / "kit"
    if not target.exists():
        subprocess.run(["cp", "-r", products, target], check=True)
    return target


def predict_words(folder: Path, name: str) -> list[object]:
    """The command that predicts into ``NAME.zarr`` and keeps the journal ``NAME.jsonl``."""
    return [
        *("predict", folder / "package", folder / "survey.zarr", folder / f"{name}.zarr"),
        *("--conf", folder / "my.yaml", "--set", f"monitor.journal={folder / name}.jsonl"),
    ]


@pytest.fixture(scope="module")
def finished(site: Site, inputs: Path) -> str:
    """What a whole run on the cluster printed."""
    return done(site, *cluster_words(site, inputs, "whole"))


def cluster_words(site: Site, folder: Path, name: str, *more: object) -> list[object]:
    """As ``predict_words``, on the cluster of the site."""
    return [*predict_words(folder, name), "--cluster", site.cluster, *more]


class _Checks:
    def skip_unless(self, site: Site, deed: str) -> None:
        """Before a command is begun for nothing: the site says why it cannot do that."""
        if getattr(type(site), deed) is getattr(Site, deed):
            getattr(site, deed)()

    def assert_same_bytes(self, inputs: Path, name: str) -> None:
        assert Store.open(inputs / f"{name}.zarr").attrs["complete"]
        assert chunks(inputs / f"{name}.zarr") == chunks(inputs / "serial.zarr")

    def assert_nothing_left(self, site: Site) -> None:
        until(lambda: site.leftovers() == [], seconds=60)
        assert list(site.folder.rglob(".distcnn-preflight-*")) == []


class RunChecks(_Checks):
    """A run that goes well, a run that is stopped, a run that was finished before."""

    def test_predict_gives_the_bytes_of_serial(self, finished, inputs):
        self.assert_same_bytes(inputs, "whole")

    def test_progress_is_seen_region_by_region(self, finished, inputs):
        told = events(inputs / "whole.jsonl")
        assert sorted(stored(inputs / "whole.jsonl")) == sorted(set(stored(inputs / "whole.jsonl")))
        assert len(stored(inputs / "whole.jsonl")) == REGIONS
        assert {"StageStarted", "StageEnded"} <= {event["event"] for event in told}

    def test_an_orderly_end_leaves_nothing(self, finished, site):
        self.assert_nothing_left(site)

    def test_a_plan_tells_the_workers_of_the_cluster(self, site, inputs):
        plan = done(site, *cluster_words(site, inputs, "planned"), "--dry-run")
        assert f"workers     {site.workers}\n" in plan
        assert not (inputs / "planned.zarr").exists()

    def test_control_c_leaves_nothing_and_the_same_command_completes(self, site, inputs):
        with begun(site, *cluster_words(site, inputs, "stopped")) as run:
            until(lambda: len(stored(inputs / "stopped.jsonl")) >= EARLY, run)
            run.interrupt()
            assert run.end() == 130, run.output
            assert "Traceback" not in run.output
        self.assert_nothing_left(site)
        done(site, *cluster_words(site, inputs, "stopped"))
        self.assert_same_bytes(inputs, "stopped")


class LossChecks(_Checks):
    """Workers and schedulers die in the middle of a run."""

    def test_a_worker_killed_in_the_middle_costs_nothing(self, site, inputs):
        self.skip_unless(site, "kill_worker")
        with begun(site, *cluster_words(site, inputs, "one_lost")) as run:
            until(lambda: len(stored(inputs / "one_lost.jsonl")) >= EARLY, run)
            site.kill_worker()
            assert run.end() == 0, run.output
        self.assert_same_bytes(inputs, "one_lost")
        self.assert_nothing_left(site)

    def test_all_workers_lost_for_a_while_are_waited_for(self, site, inputs):
        self.skip_unless(site, "kill_all_workers")
        with begun(site, *cluster_words(site, inputs, "all_lost")) as run:
            until(lambda: len(stored(inputs / "all_lost.jsonl")) >= EARLY, run)
            site.kill_all_workers()
            assert run.end() == 0, run.output
        self.assert_same_bytes(inputs, "all_lost")
        self.assert_nothing_left(site)

    def test_after_a_lost_scheduler_the_run_is_complete_in_the_end(self, site, inputs):
        """By itself, or by the same command again."""
        self.skip_unless(site, "kill_scheduler")
        with begun(site, *cluster_words(site, inputs, "headless")) as run:
            until(lambda: len(stored(inputs / "headless.jsonl")) >= EARLY, run)
            site.kill_scheduler()
            code = run.end()
        if code:
            before = len(stored(inputs / "headless.jsonl"))
            site.after_scheduler_lost()  # first, for the sake of the checks that follow
            assert code == 1, run.output
            assert "same command again" in run.output
            done(site, *cluster_words(site, inputs, "headless"))
            assert len(stored(inputs / "headless.jsonl")) == REGIONS >= before
        assert "Traceback" not in run.output, run.output
        self.assert_same_bytes(inputs, "headless")
        self.assert_nothing_left(site)


class RefusalChecks(_Checks):
    """What cannot go well is refused before any work, with the cure."""

    def refused(self, site: Site, inputs: Path, cluster: str, name: str) -> str:
        words = [*predict_words(inputs, name), "--cluster", cluster]
        text = done(site, *words, code=1)
        assert "Traceback" not in text
        assert stored(inputs / f"{name}.jsonl") == []
        assert not (inputs / f"{name}.zarr").exists()
        return text

    def test_a_package_missing_on_a_worker_is_refused(self, site, inputs, tmp_path):
        block = "import sys\nclass Block:\n    def find_spec(self, name, path=None, target=None):\n"
        block += "        if name.split('.')[0] == 'distcnn':\n"
        block += "            raise ModuleNotFoundError(name, name=name)\n"
        (tmp_path / "sitecustomize.py").write_text(f"{block}sys.meta_path.insert(0, Block())\n")
        with site.strange_workers(tmp_path) as cluster:
            text = self.refused(site, inputs, cluster, "missing")
        assert "distcnn" in text
        assert "pip install" in text

    def test_other_versions_on_a_worker_are_refused_with_the_list(self, site, inputs, tmp_path):
        for name in ("zarr", "numpy"):
            folder = tmp_path / f"{name}-0.0.9.dist-info"
            folder.mkdir()
            (folder / "METADATA").write_text(
                f"Metadata-Version: 2.1\nName: {name}\nVersion: 0.0.9\n"
            )
        with site.strange_workers(tmp_path) as cluster:
            text = self.refused(site, inputs, cluster, "versions")
        assert "zarr 0.0.9" in text
        assert "numpy 0.0.9" in text

    def test_a_path_that_workers_do_not_see_is_refused(self, site, inputs):
        with site.blind_workers(inputs) as cluster:
            text = self.refused(site, inputs, cluster, "blind")
        assert "survey.zarr" in text


class StageChecks(_Checks):
    """The other commands that have workers; what ``serial`` makes of them is made once."""

    def ingest(self, site: Site, folder: Path, name: str) -> dict[str, str]:
        """Chunks of the survey that is made of the archive."""
        out = folder / f"{name}.zarr"
        words = ["ingest", folder / "archive", out, "--cluster", site.cluster]
        settings = ["ingest.grid={start: 846.0, step: 0.01, size: 61}", "ingest.block_rows=4"]
        settings += ["ingest.prepare={rebin: 3, noise_correlation: 2.45}"]
        settings += ["ingest.store={chunk_stars: 4, shard_stars: 8}"]
        if not out.exists():
            with begun(site, *words, *(w for s in settings for w in ("--set", s))) as run:
                assert run.end() in {0, 3}, run.output
        return chunks(out)

    def train(self, site: Site, folder: Path, name: str, *sets: str) -> dict:
        """Arrays of the package that is made of the labelled survey."""
        words = ["train", folder / "labelled.zarr", folder / name, "--conf", folder / "my.yaml"]
        words += ["--cluster", site.cluster, *(w for s in sets for w in ("--set", s))]
        words += ["--set", f"monitor.journal={folder / name}.jsonl"]
        # Regressions are fitted by the driver alone, whatever the cluster.
        words += ["--set", "train.stacking.methods=[]"]
        if not (folder / name).exists():
            done(site, *words)
        files = sorted((folder / name).rglob("*.safetensors"))
        return {path.name: load_file(path) for path in files}

    def test_ingest_gives_the_bytes_of_serial(self, site, inputs, products):
        here = self.ingest(Site(products, "serial"), products, "ingested")
        assert len(here) > 3
        assert self.ingest(site, inputs, "ingested_there") == here

    def test_members_are_trained_as_by_serial(self, site, inputs, products):
        ensemble = "train.distribute.strategy=ensemble"
        here = self.train(Site(products, "serial"), products, "members", ensemble)
        there = self.train(site, inputs, "members_there", ensemble)
        assert_same_weights(here, there, exactly=True)
        self.assert_nothing_left(site)

    def test_ranks_train_a_member_together(self, site, inputs, products):
        data = ("train.distribute={strategy: data, lanes: 2}", "train.members=1")
        here = self.train(Site(products, "serial"), products, "ranks", *data)
        there = self.train(site, inputs, "ranks_there", *data)
        told = [event.get("text", "") for event in events(inputs / "ranks_there.jsonl")]
        assert any(f"{site.workers} ranks begin" in text for text in told)
        assert_same_weights(here, there, exactly=False)
        self.assert_nothing_left(site)


def assert_same_weights(here: dict, there: dict, *, exactly: bool) -> None:
    assert here.keys() == there.keys()
    assert here
    for name, tensors in here.items():
        for key, values in tensors.items():
            other = there[name][key]
            same = np.array_equal(values, other, equal_nan=values.dtype.kind == "f")
            if not exactly:
                same = np.allclose(values, other, rtol=1e-4, atol=1e-5, equal_nan=True)
            assert same, (name, key)
