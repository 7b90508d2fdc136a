"""Whole commands on a real Slurm cluster on this machine, and the scripts of ``deploy/slurm``."""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import yaml
from clusters.machines.slurm_cluster import SlurmCluster, missing_programs
from conformance.cluster_runs import (
    EARLY,
    ROOT,
    LossChecks,
    RefusalChecks,
    RunChecks,
    Site,
    StageChecks,
    begun,
    chunks,
    cluster_words,
    done,
    predict_words,
    stored,
    until,
)

from distcnn.config import PredictConfig
from distcnn.inference import verify
from distcnn.survey import Store

pytestmark = pytest.mark.slow
absent = missing_programs()


class SlurmSite(Site):
    """Two nodes of two cores; scratch folders of jobs and of commands in a folder of the test."""

    def __init__(self, machine: SlurmCluster, folder: Path) -> None:
        self.machine, self.scratch = machine, folder / "scratch"
        self.scratch.mkdir()
        super().__init__(folder, str(self.configured(folder / "site.yaml")))
        self.environment = {name: machine.environment[name] for name in ("SLURM_CONF", "PATH")}
        self.environment |= {"TMPDIR": str(self.scratch)}

    def configured(self, file: Path, **settings: object) -> Path:
        """A file for ``--cluster``."""
        usual = {"backend": "slurm", "workers": 2, "interface": "lo", "poll": 0.5}
        usual |= {"dashboard": None, "scratch": str(self.scratch), "gather": 2.0}
        memory = {"memory": "1500 MB", "planned_memory": "1500 MB"}
        file.write_text(yaml.safe_dump({"cluster": usual | settings, "resources": memory}))
        return file

    def leftovers(self) -> list[str]:
        files = [*self.scratch.glob("distcnn-*"), *self.folder.rglob("*.logs/.distcnn-*")]
        jobs = self.machine.jobs("pending", "running", "completing")
        return [*map(str, files), *(f"job {job}" for job in jobs), *self.machine.workers()]

    def kill_worker(self) -> None:
        self.machine.ask("scancel", self.machine.jobs("running")[0])

    def kill_all_workers(self) -> None:
        self.machine.ask("scancel", *self.machine.jobs("running"))

    @contextmanager
    def strange_workers(self, first_on_path: Path) -> Iterator[str]:
        yield str(
            self.configured(
                first_on_path / "site.yaml",
                environment=[f"export PYTHONPATH={first_on_path}:$PYTHONPATH"],
                python=sys.executable,
            )
        )

    @contextmanager
    def blind_workers(self, folder: Path) -> Iterator[str]:
        # An empty file system over the folder, in a world that only the worker sees.
        python = self.folder / "blind_python"
        python.write_text(
            "#!/bin/bash\n"
            f'exec unshare --mount bash -c \'mount -t tmpfs none {folder} && exec "$0" "$@"\' '
            f'{sys.executable} "$@"\n'
        )
        python.chmod(0o755)
        file = self.configured(self.folder / "blind.yaml", python=str(python))
        yield str(file)


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    if absent:
        pytest.skip(f"Slurm is not installed: no {', '.join(absent)}")
    machine = SlurmCluster(tmp_path_factory.mktemp("slurm"))
    try:
        yield SlurmSite(machine, tmp_path_factory.mktemp("site"))
    finally:
        machine.stop()


class TestSlurm(RunChecks, LossChecks, RefusalChecks, StageChecks):
    """The scheduler is in the command, and goes with it."""

    def test_logs_of_jobs_are_beside_the_product(self, finished, inputs):
        logs = inputs / "whole.zarr.logs"
        assert f"their logs are in {logs}" in finished.replace("\n", " ").replace("  ", " ")
        assert list(logs.glob("distcnn-*.log"))

    def test_jobs_that_are_killed_by_their_time_limit_cost_nothing(self, site, inputs):
        """A job that hears nothing of its end: its workers are in the middle of regions."""
        with begun(site, *cluster_words(site, inputs, "overtime")) as run:
            until(lambda: len(stored(inputs / "overtime.jsonl")) >= EARLY, run)
            for job in site.machine.jobs("running"):
                site.machine.ask("scancel", "--signal=KILL", "--full", job)
            assert run.end() == 0, run.output
        self.assert_same_bytes(inputs, "overtime")
        self.assert_nothing_left(site)


def submit(site, inputs, script, name, *options, **variables):
    """Submit a script of ``deploy/slurm``; returns the number of the job and its log."""
    given = {
        "PACKAGE": inputs / "package",
        "SURVEY": inputs / "survey.zarr",
        "PREDICTIONS": inputs / f"{name}.zarr",
        "CONF": inputs / "my.yaml",
        "DISTCNN": site.folder / "distcnn",
        **variables,
    }
    command = f'#!/bin/bash\nexec {sys.executable} -W ignore -m distcnn "$@"\n'
    (site.folder / "distcnn").write_text(command)
    (site.folder / "distcnn").chmod(0o755)
    exports = ",".join(["ALL", *(f"{key}={value}" for key, value in given.items())])
    answer = subprocess.run(
        [
            *("sbatch", "--parsable", f"--export={exports}", "--chdir", str(site.folder)),
            *(f"--output={site.folder}/{name}-%a.log", *options),
            str(ROOT / "deploy" / "slurm" / script),
        ],
        env={**os.environ, **site.environment, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=True,
    )
    return answer.stdout.strip()


def texts(site, name):
    return "\n".join(path.read_text() for path in sorted(site.folder.glob(f"{name}-*.log")))


def test_an_array_with_a_task_that_is_killed_is_completed_by_the_same_array(site, inputs):
    small = ("--mem-per-cpu=1500M", "--array=1-3")
    submit(site, inputs, "predict_array.sbatch", "array", *small)
    store = inputs / "array.zarr" / ".distcnn"
    until(lambda: len(list(store.glob("ledger.*-of-3.*"))) > 1)
    site.machine.ask("scancel", site.machine.jobs("running")[0])
    until(lambda: site.machine.jobs("pending", "running", "completing") == [])
    first = texts(site, "array")
    if not Store.open(inputs / "array.zarr").attrs["complete"]:
        assert "elements done" in done(site, "inspect", inputs / "array.zarr")
        submit(site, inputs, "predict_array.sbatch", "array", *small)
        until(lambda: site.machine.jobs("pending", "running", "completing") == [])
    assert chunks(inputs / "array.zarr") == chunks(inputs / "serial.zarr")
    assert Store.open(inputs / "array.zarr").attrs["complete"], (first, texts(site, "array"))
    assert "is sound" in texts(site, "array")
    assert [path.name for path in store.glob("ledger*")] == ["ledger.jsonl"]
    assert verify(inputs / "array.zarr", PredictConfig(verify_sample=16)).failed == 0


def test_tasks_of_several_cores_have_local_workers(site, inputs):
    options = ("--mem-per-cpu=1500M", "--array=0-1", "--cpus-per-task=2")
    submit(site, inputs, "predict_array.sbatch", "wide", *options)
    until((inputs / "wide.zarr").exists)
    until(lambda: site.machine.jobs("pending", "running", "completing") == [])
    text = texts(site, "wide")
    assert "workers     2" in text
    assert "is sound" in text, text
    assert chunks(inputs / "wide.zarr") == chunks(inputs / "serial.zarr")


def test_a_command_that_is_a_job_itself_has_workers_in_jobs(site, inputs):
    submit(site, inputs, "predict_dask.sbatch", "nested", "--mem=1500M", CLUSTER=site.cluster)
    until((inputs / "nested.zarr").exists)
    until(lambda: site.machine.jobs("pending", "running", "completing") == [])
    assert "2 Slurm jobs called distcnn-" in texts(site, "nested")
    assert chunks(inputs / "nested.zarr") == chunks(inputs / "serial.zarr")


def test_the_end_of_its_time_lets_the_command_cancel_its_workers(site, inputs):
    submit(site, inputs, "predict_dask.sbatch", "cut", "--mem=1500M", CLUSTER=site.cluster)
    until((inputs / "cut.zarr").exists)
    command = site.machine.ask("squeue", "-h", "-n", "distcnn-command", "-t", "running", "-o", "%A")
    site.machine.ask("scancel", "--signal=TERM", "--batch", command)
    until(lambda: site.machine.jobs("pending", "running", "completing") == [])
    assert "stopped by SIGTERM" in texts(site, "cut")
    assert site.leftovers() == []
    done(site, *predict_words(inputs, "cut"), "--cluster", "serial")
    assert chunks(inputs / "cut.zarr") == chunks(inputs / "serial.zarr")
