"""Hosts by ssh that are cut off, killed and left: nothing is lost, and nothing is left there."""

import os
import shutil
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import psutil
import pytest
import yaml
from conformance.cluster_checks import hold_semaphore, wait_until
from machines.held import Held
from machines.ssh_hosts import ROOT, config_of, hosts_in, wait_for

from distcnn import stopping
from distcnn.clusters import open_cluster
from distcnn.events import silent
from tests.conftest import kill_unless_tracker
from tests.inference.small import CONFIG, go, make_package, make_survey, recorded

ENGINE = CONFIG.model_copy(update={"engine": "eager"})  # another may be faster elsewhere
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def hosts(tmp_path_factory):
    with hosts_in(tmp_path_factory.mktemp("ssh"), 2) as hosts, hosts.inside(0):
        yield hosts


@pytest.fixture
def scratch(tmp_path):
    folder = tmp_path / "scratch"
    folder.mkdir()
    return folder


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A survey, a package, and predictions that this very process has made."""
    folder = tmp_path_factory.mktemp("made")
    make_package(folder / "package", make_survey(folder / "survey.zarr"))
    go(folder, ENGINE)
    return folder


@pytest.fixture
def inputs(made, tmp_path):
    for name in ("survey.zarr", "package"):
        shutil.copytree(made / name, tmp_path / name)
    return tmp_path


@pytest.fixture
def predicting():
    """Starts a prediction in a thread; gives what it ends with."""
    with ThreadPoolExecutor(1) as pool:
        yield partial(pool.submit, go, config=ENGINE)


class TestPredictions:
    def test_two_hosts_give_the_same_bytes_as_this_process(self, hosts, scratch, made, inputs):
        with open_cluster(config_of(hosts, scratch)) as executor:
            assert go(inputs, ENGINE, executor).failed == 0
        assert recorded(inputs) == recorded(made)

    def test_a_link_that_is_cut_for_12_s_loses_nothing(
        self, hosts, scratch, made, inputs, predicting
    ):
        heard = []
        with open_cluster(config_of(hosts, scratch), heard.append) as executor:
            held = Held(executor, inputs / "go")
            future = predicting(inputs, executor=held)
            held.until_begun(future, 2)
            with hosts.cut(2):
                time.sleep(12)  # nothing happens in it: there is nothing to wait for
            held.marker.touch()
            assert future.result().failed == 0
        assert recorded(inputs) == recorded(made)
        assert not any("lost" in event.text for event in heard)

    def test_a_host_that_is_lost_is_told_replaced_and_its_regions_computed_elsewhere(
        self, hosts, scratch, made, inputs, predicting
    ):
        heard = []
        config = config_of(hosts, scratch, lost_after=12, connect_timeout=3.0)
        with open_cluster(config, heard.append) as executor:
            held = Held(executor, inputs / "go")
            future = predicting(inputs, executor=held)
            held.until_begun(future, 2)
            with hosts.cut(2):
                wait_until(lambda: any("is lost" in event.text for event in heard))
                wait_until(lambda: executor.alive_workers() == 1)
                # The host does the same at its end, without a word from here.
                wait_until(lambda: hosts.processes(2) == [])
                held.marker.touch()
                assert future.result().failed == 0
            wait_until(lambda: executor.alive_workers() == 2)
            wait_until(lambda: "is there again" in heard[-1].text)
        assert recorded(inputs) == recorded(made)
        lost, back = [event.text for event in heard if "workers go on" in event.text]
        assert lost.startswith(f"host {hosts.address(2)} is lost (")
        assert lost.endswith("1 of 2 workers go on")
        assert back == f"host {hosts.address(2)} is there again: 2 of 2 workers go on"


class TestNothingIsLeftOnAHost:
    def test_of_the_semaphores_of_workers_that_their_agent_kills(self, hosts, scratch):
        with open_cluster(config_of(hosts, scratch), silent) as executor:
            held = [result.unwrap() for result in executor(hold_semaphore, range(2))]
            assert all(one.exists() for one in held)
        wait_until(lambda: not any(one.exists() for one in held), 60.0)


class TestAHostThatComesBack:
    def test_an_agent_that_was_killed_is_started_again(self, hosts, scratch):
        heard = []
        with open_cluster(config_of(hosts, scratch), heard.append) as executor:
            agent = next(
                one for one in hosts.processes(1) if "distcnn.clusters.ssh.agent" in one.cmdline()
            )
            before = hosts.processes(1)
            agent.kill()
            wait_until(lambda: any("is there again" in event.text for event in heard))
            wait_until(lambda: executor.alive_workers() == 2)
            psutil.wait_procs(before, timeout=30)
            assert not any(one.is_running() for one in before)
        assert "is lost (its agent was killed by SIGKILL)" in str(heard)
        assert list(scratch.iterdir()) == []

    def test_a_server_that_lets_nobody_in_for_a_while_is_tried_again(self, hosts, scratch):
        heard = []
        with open_cluster(config_of(hosts, scratch), heard.append) as executor:
            hosts.stop_server(1)
            for one in hosts.processes(1):
                kill_unless_tracker(one)
            wait_until(lambda: any("is lost" in event.text for event in heard))
            hosts.start_server(1)
            wait_until(lambda: executor.alive_workers() == 2)


class TestNothingIsLeftOnAnyHost:
    @pytest.fixture
    def client(self, hosts, scratch, tmp_path, killing):
        config = config_of(hosts, scratch, lost_after=12)
        path = tmp_path / "conf.yaml"
        path.write_text(yaml.safe_dump({"cluster": config.model_dump(mode="json")}))
        folder = tmp_path / "work"
        folder.mkdir()
        script = str(ROOT / "tests/clusters/client_run.py")
        return killing(
            psutil.Popen(
                hosts.command_on(0, sys.executable, script, str(folder), str(path)),
                env={**os.environ, "PYTHONPATH": str(ROOT)},
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
                start_new_session=True,
            )
        )

    def test_by_control_c(self, client, hosts, scratch):
        at_work = [client.stdout.readline() for _ in range(2)]
        assert all(at_work)
        os.killpg(client.pid, signal.SIGINT)
        _, errors = client.communicate(timeout=60)
        assert (client.returncode, errors) == (130, f"distcnn: stopped. {stopping.CURE}\n")
        assert hosts.processes(1) == hosts.processes(2) == []
        assert list(scratch.iterdir()) == []

    def test_by_control_c_while_the_workers_start(self, client, hosts, scratch):
        wait_until(lambda: hosts.processes(1))
        os.killpg(client.pid, signal.SIGINT)
        _, errors = client.communicate(timeout=60)
        assert (client.returncode, errors) == (130, f"distcnn: stopped. {stopping.CURE}\n")
        wait_for(lambda: hosts.processes(1) == hosts.processes(2) == [])
        assert list(scratch.iterdir()) == []

    def test_when_the_command_is_killed_even_behind_a_link_that_is_cut(
        self, client, hosts, scratch
    ):
        at_work = [client.stdout.readline() for _ in range(2)]
        assert all(at_work)
        with hosts.cut(2):
            client.kill()
            wait_for(lambda: hosts.processes(1) == [], 10)
            assert hosts.processes(2) != []
            wait_for(lambda: hosts.processes(2) == [], 60)
        assert list(scratch.iterdir()) == []
