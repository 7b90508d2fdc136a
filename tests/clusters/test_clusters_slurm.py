"""Workers in jobs of a real Slurm cluster on this machine."""

import base64
import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest
from clusters.machines.slurm_cluster import CORES, SlurmCluster, missing_programs
from conformance.cluster_checks import WorkerChecks, environment, square, wait_until

from distcnn.clusters import expect_workers, open_cluster, render_cluster, slurm
from distcnn.clusters.slurm import SlurmConfig
from distcnn.clusters.slurm.queue import (
    GONE,
    JobState,
    ask,
    count_reasons,
    hopeless,
    parse_queue,
)
from distcnn.clusters.slurm.script import JobScript, tail
from distcnn.clusters.slurm.settings import parse_walltime
from distcnn.config import load_config
from distcnn.errors import ClusterError, ConfigError
from distcnn.events import Notice

absent = missing_programs()
real = pytest.mark.skipif(bool(absent), reason=f"Slurm is not installed: no {', '.join(absent)}")


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("90", 5400),
        ("10:30", 630),
        ("04:00:00", 14_400),
        ("1-12", 129_600),
        ("2-01:30", 178_200),
        ("1-00:00:01", 86_401),
    ],
)
def test_a_time_limit_is_read_as_slurm_reads_it(text, seconds):
    assert parse_walltime(text) == seconds


@pytest.mark.parametrize("text", ["", "soon", "1:2:3:4", "-5", "1h", "0"])
def test_what_is_no_time_limit_is_refused(text):
    with pytest.raises(ValueError, match=r"time"):
        SlurmConfig(walltime=text)


def test_workers_come_in_whole_jobs():
    config = SlurmConfig(workers=12, workers_per_job=4)
    assert (config.jobs, config.total, config.per_job) == (3, 12, 4)
    assert SlurmConfig(gpus=2).total == 2
    with pytest.raises(ValueError, match="13 is no multiple of 4 a job"):
        SlurmConfig(workers=13, workers_per_job=4)
    assert SlurmConfig(walltime="5").margin_seconds == 30
    with pytest.raises(ValueError, match="at most half the walltime, 30 s"):
        SlurmConfig(walltime="1", margin=40)


def test_the_preset_is_read_and_keys_are_its_own():
    config = load_config(cluster="slurm").cluster
    assert isinstance(config, SlurmConfig)
    assert (config.jobs, config.seconds) == (4, 14_400)
    with pytest.raises(ConfigError, match=r"partitoin.*partition"):
        load_config(sets=["cluster.partitoin=debug"], cluster="slurm")


def script_of(**settings):
    config = SlurmConfig(**settings)
    return JobScript(config, "distcnn-test", Path("/logs")).render("tcp://10.0.0.1:1234", "w7")


def test_a_script_has_what_the_configuration_says():
    text = script_of(
        partition="normal",
        account="gaia",
        walltime="2-00:00:00",
        workers_per_job=4,
        threads=2,
        memory_limit=10**9,
        directives=["--qos=long", "-C skylake"],
        environment=["module load python/3.11"],
        interface="ib0",
        margin=90,
    )
    directives = re.findall(r"^#SBATCH (.*)$", text, re.MULTILINE)
    assert {"--partition=normal", "--account=gaia", "--time=2-00:00:00"} <= set(directives)
    assert {"--qos=long", "-C skylake", "--cpus-per-task=8", "--mem=4292M"} <= set(directives)
    assert "--output=/logs/distcnn-test-%j.log" in directives
    assert text.index("module load") < text.index("export OMP_NUM_THREADS=2")
    (command,) = re.findall(r"^python -m distributed.cli.dask_worker (.*) &$", text, re.MULTILINE)
    assert command.startswith("tcp://10.0.0.1:1234 --nthreads 1 --memory-limit 1000000000")
    assert "--interface ib0 --name w7 --nworkers 4" in command


def test_the_script_can_be_shown_without_a_slurm(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    text = render_cluster(SlurmConfig(partition="normal"))
    assert "#SBATCH --partition=normal" in text
    assert "tls://HOST:PORT" in text


def test_our_settings_of_dask_are_in_the_script():
    (text,) = re.findall("INHERIT_CONFIG=(\\S+)", script_of())
    settings = json.loads(base64.urlsafe_b64decode(text))
    assert settings["distributed"]["worker"]["preload"] == ["distcnn.clusters.preload"]
    assert settings["distributed"]["worker"]["memory"]["spill"] is False


def test_the_queue_is_read_and_told():
    states = parse_queue(
        "12|RUNNING|None|n1\n13|PENDING|Resources|\n14|PENDING|Priority|\n15|FAILED|NonZero|n2\n"
    )
    assert states["12"] == JobState("12", "RUNNING", "None", "n1")
    assert count_reasons(states.values()) == "2 jobs pending (Resources, Priority)"
    assert count_reasons([states["12"]]) == ""
    assert str(states["15"]) == "job 15: FAILED (NonZero) on n2"
    assert not JobState("1", GONE).alive
    assert hopeless(states) is None
    assert hopeless(parse_queue("9|PENDING|InvalidAccount|")).job == "9"


def test_the_end_of_a_log_is_told_with_the_first_error_in_it(tmp_path):
    log = tmp_path / "job.log"
    assert tail(log) == ""
    chain = ["ModuleNotFoundError: zarr", "", *(f"line {n}" for n in range(20)), "RuntimeError: no"]
    log.write_text("\n".join(chain))
    assert tail(log).splitlines()[:3] == ["ModuleNotFoundError: zarr", "...", "line 13"]
    assert tail(log).endswith("RuntimeError: no")
    log.write_text("/bin/bash: line 3: python: command not found\n")
    assert tail(log) == "/bin/bash: line 3: python: command not found"


def test_what_is_imported_for_it_leaves_ctrl_c_to_the_command():
    code = """
import signal
from distcnn.clusters import slurm
before = signal.getsignal(signal.SIGINT)
try:
    slurm.expect(slurm.SlurmConfig())
except slurm.ClusterError:  # no Slurm on this machine
    pass
import dask_jobqueue
assert signal.getsignal(signal.SIGINT) is before
"""
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_machine_without_slurm_is_said(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ClusterError, match=r"no program 'sbatch' .* Load|module"):
        expect_workers(SlurmConfig())


@pytest.fixture(scope="module")
def machine(tmp_path_factory):
    """Two nodes; this process, and what it starts, speaks to them."""
    if absent:
        pytest.skip(f"Slurm is not installed: no {', '.join(absent)}")
    cluster = SlurmCluster(tmp_path_factory.mktemp("slurm"))
    try:
        with pytest.MonkeyPatch.context() as patch:
            for name in ("SLURM_CONF", "PATH"):
                patch.setenv(name, cluster.environment[name])
            patch.setenv("PYTHONPATH", os.pathsep.join(map(str, roots())))
            yield cluster
    finally:
        cluster.stop()


def roots():
    root = Path(__file__).parents[2]
    return [root, root / "tests", Path(__file__).parent]


def config_of(machine, **settings):
    settings = {
        "interface": "lo",
        "memory_limit": 10**9,
        "poll": 0.5,
        "workers": 2,
        "logs": machine.folder / "logs",
        "scratch": str(machine.folder),
        **settings,
    }
    return SlurmConfig(**settings)


@pytest.fixture(scope="class")
def connected(machine):
    with open_cluster(config_of(machine)) as executor:
        yield executor


@pytest.mark.slow
class TestSlurm(WorkerChecks):
    @pytest.fixture
    def config(self, machine):
        return config_of(machine)

    @pytest.fixture
    def executor(self, connected):
        wait_until(lambda: connected.alive_workers() == 2)
        return connected

    def test_a_cancelled_job_is_replaced(self, executor, machine):
        before = machine.jobs()
        subprocess.run(["scancel", before[0]], check=True)
        wait_until(lambda: len(set(machine.jobs("running")) - set(before)) == 1)
        wait_until(lambda: executor.alive_workers() == 2)
        assert [result.value for result in executor(square, [6])] == [36]

    def test_jobs_of_a_crashed_node_go_elsewhere(self, executor, machine):
        node = machine.ask("squeue", "-h", "-t", "running", "-o", "%N").split()[0]
        machine.crash_node(node)
        try:
            wait_until(lambda: executor.alive_workers() == 1)
            assert [result.value for result in executor(square, [4])] == [16]
            wait_until(lambda: executor.alive_workers() == 2)
        finally:
            machine.start_node(node)
        wait_until(lambda: machine.ask("sinfo", "-h", "-t", "down", "-o", "%D") == "")


@real
@pytest.mark.slow
class TestJobs:
    """Clusters of their own, one after the other."""

    @pytest.fixture(autouse=True)
    def _nothing_is_left(self, machine):
        # A node that has crashed in a test before could not clear up.
        crashed = set(machine.folder.glob("distcnn-workers-*"))
        yield
        name = machine.ask("squeue", "-h", "-o", "%j")
        assert "distcnn" not in name or machine.jobs() == []
        assert not set(machine.folder.glob("distcnn-workers-*")) - crashed
        assert not list((machine.folder / "logs").glob(".distcnn*"))

    def refused(self, machine, **settings):
        begun = time.monotonic()
        with (
            pytest.raises(ClusterError) as error,
            open_cluster(config_of(machine, **settings)),
        ):
            pass
        assert time.monotonic() - begun < 100
        return str(error.value)

    def test_a_partition_that_is_not_there_is_said_in_the_words_of_sbatch(self, machine):
        text = self.refused(machine, partition="nowhere")
        assert "sbatch says: sbatch: error: invalid partition specified: nowhere" in text
        assert "Change cluster.partition" in text
        assert "time limit is invalid" in self.refused(machine, partition="short")

    def test_a_node_without_the_python_is_said_with_the_end_of_the_log(self, machine):
        text = self.refused(machine, python="/nowhere/python")
        assert "No such file or directory" in text
        assert re.search(r"job \d+: (FAILED|COMPLETED)", text)
        assert "whether the node has the Python of cluster.python" in text

    def test_a_python_without_dask_is_said_too(self, machine):
        bare = machine.folder / "bare_python"
        bare.write_text(f'#!/bin/bash\nPYTHONPATH= exec {sys.executable} -S "$@"\n')
        bare.chmod(0o755)
        text = self.refused(machine, python=str(bare))
        assert "No module named 'distributed'" in text or "distributed.cli" in text
        assert "pip install 'distcnn[slurm]'" in text

    def test_jobs_that_wait_are_told_and_the_others_begin(self, machine):
        notices = []
        blocker = machine.ask(
            "sbatch", "--parsable", "--exclusive", "-w", "n1", "-o", "/dev/null", "--wrap", "cat"
        )
        subprocess.run(["scancel", blocker], check=True)
        script = machine.folder / "block.sh"
        script.write_text("#!/bin/bash\nexec tail -f /dev/null\n")
        blocker = machine.ask(
            *("sbatch", "--parsable", "--exclusive", "-w", "n1", "-o", "/dev/null", str(script))
        )
        wait_until(lambda: blocker in machine.jobs("running"))
        try:
            config = config_of(machine, workers=4, gather=6.0)
            with open_cluster(config, notices.append) as executor:
                assert executor.alive_workers() == CORES
                assert [result.value for result in executor(square, [3])] == [9]
                machine.ask("scancel", blocker)
                wait_until(lambda: executor.alive_workers() == 4)
        finally:
            machine.ask("scancel", blocker)
        texts = [event.text for event in notices if isinstance(event, Notice)]
        assert any(re.search(r"2 of 4 workers, \d.* 2 jobs pending \(\w+", t) for t in texts), texts
        assert any("the work begins with these, others join it" in text for text in texts)

    def test_workers_leave_before_their_job_ends_and_others_come(self, machine, tmp_path):
        notices = []
        # A minute less the margin: each job works for some seconds only.
        config = config_of(machine, walltime="1", margin=30.0)
        with open_cluster(config, notices.append) as executor:
            first = set(machine.jobs("running"))
            results = list(executor(sleepy_square, range(100)))
            assert sorted(r.unwrap() for r in results) == [n**2 for n in range(100)]
            assert {r.attempts for r in results} == {1}
            assert first.isdisjoint(machine.jobs("running"))
        ended = machine.ask("squeue", "-h", "-t", "completed", "-o", "%A").split()
        assert first <= set(ended)
        assert any("another job takes its place" in event.text for event in notices)

    def test_each_worker_of_a_gpu_job_sees_one(self, machine):
        with open_cluster(config_of(machine, workers=2, gpus=2)) as executor:
            wait_until(lambda: executor.alive_workers() == 2)
            names = ["CUDA_VISIBLE_DEVICES"] * 8
            seen = {result.unwrap() for result in executor(environment, names)}
        assert seen <= {"0", "1"}
        assert seen

    def test_keys_are_in_files_of_this_user_alone_and_nowhere_else(self, machine):
        logs = machine.folder / "logs"
        with open_cluster(config_of(machine, tls="on")) as executor:
            assert executor.client.scheduler.address.startswith("tls://")
            (folder,) = logs.glob(".distcnn-*")
            assert folder.stat().st_mode & 0o077 == 0
            files = list(folder.iterdir())
            assert {file.name for file in files} == {"ca.pem", "cert.pem", "key.pem"}
            assert all(file.stat().st_mode & 0o077 == 0 for file in files)
            secret = (folder / "key.pem").read_text().splitlines()[1]
            job = machine.jobs("running")[0]
            script = machine.ask("scontrol", "write", "batch_script", job, "-")
            assert str(folder) in script
            assert [result.value for result in executor(square, [3])] == [9]
        assert secret not in script
        assert all(secret not in log.read_text() for log in logs.glob("*.log"))

    def test_a_loopback_address_is_refused_if_nodes_are_elsewhere(self, machine, monkeypatch):
        monkeypatch.setattr(slurm, "node_addresses", lambda partition: {"127.0.0.1", "10.9.8.7"})
        text = self.refused(machine)
        assert "the scheduler would listen at 127.0.0.1, where no other machine reaches it" in text
        assert "cluster.interface" in text

    def test_an_interface_that_is_not_there_is_refused(self, machine):
        assert "no interface 'ib7'" in self.refused(machine, interface="ib7")

    def test_workers_find_the_interface_that_reaches_the_scheduler(self, machine):
        config = config_of(machine, interface=None, scheduler_interface="lo")
        with open_cluster(config) as executor:
            workers = executor.client.scheduler_info(n_workers=-1)["workers"]
        assert {address.partition("://")[2].partition(":")[0] for address in workers} == {
            "127.0.0.1"
        }

    def test_words_of_slurm_come_out_where_it_refuses(self, machine):
        with pytest.raises(ClusterError, match=r"scancel says: .*error"):
            ask(["scancel", "no-such-number"])


def sleepy_square(number):
    """Long enough that some jobs come and go."""
    wait = time.monotonic() + 0.7
    while time.monotonic() < wait:
        time.sleep(0.05)
    return number**2
