"""Hosts by ssh: real servers in network namespaces, with links that can be cut."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import psutil
import pytest
import yaml
from conformance.cluster_checks import WorkerChecks, square, wait_until
from machines.held import Held
from machines.ssh_hosts import hosts_in, wait_for

from distcnn import stopping
from distcnn.clusters import expect_workers, open_cluster
from distcnn.clusters.ssh import SshConfig
from distcnn.errors import ClusterError
from tests.inference.small import CONFIG, go, make_package, make_survey, recorded

ROOT = Path(__file__).parents[2]
ENGINE = CONFIG.model_copy(update={"engine": "eager"})  # another may be faster elsewhere
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def hosts(tmp_path_factory):
    folder = tmp_path_factory.mktemp("ssh")
    with hosts_in(folder, 2) as hosts, hosts.inside(0):
        yield hosts


@pytest.fixture(scope="module")
def scratch(tmp_path_factory):
    return tmp_path_factory.mktemp("scratch")


def config_of(hosts, scratch, *, lines=None, **settings):
    return SshConfig(
        backend="ssh",
        hosts=lines or tuple(f"{hosts.address(n)} workers=1" for n in (1, 2)),
        key=hosts.key,
        known_hosts=hosts.known_hosts,
        setup=(f"export PYTHONPATH={ROOT}:{ROOT / 'tests'}:{ROOT / 'tests/clusters'}",),
        scratch=str(scratch),
        **settings,
    )


@pytest.fixture(scope="module")
def shared(hosts, scratch):
    with open_cluster(config_of(hosts, scratch)) as executor:
        yield executor


class TestSsh(WorkerChecks):
    @pytest.fixture
    def config(self, hosts, scratch):
        return config_of(hosts, scratch)

    @pytest.fixture
    def executor(self, shared):
        # A test before may have killed one.
        wait_until(lambda: shared.alive_workers() == 2)
        return shared

    def test_workers_run_on_both_hosts(self, executor, hosts):
        workers = executor.client.scheduler_info(n_workers=-1)["workers"].values()
        assert sorted(worker["host"] for worker in workers) == [
            hosts.address(1),
            hosts.address(2),
        ]

    def test_everything_that_listens_beyond_loopback_is_encrypted(self, executor, hosts):
        assert executor.client.scheduler.address.startswith(f"tls://{hosts.address(0)}:")
        addresses = executor.client.scheduler_info(n_workers=-1)["workers"]
        assert all(address.startswith("tls://") for address in addresses)
        assert executor.dashboard.startswith("http://127.0.0.1:")
        here = [psutil.Process(), *hosts.processes(1)]
        for listening in (c for one in here for c in one.net_connections() if c.status == "LISTEN"):
            if not listening.laddr.ip.startswith("127."):
                assert not speaks_plainly(listening.laddr)

    def test_no_key_is_in_a_list_of_processes_or_in_an_environment(self, executor, hosts):
        for one in hosts.processes(1):
            assert "PRIVATE KEY" not in " ".join(one.cmdline()) + str(one.environ())


def speaks_plainly(address):
    """Whether a server introduces itself to who says nothing, as Dask does without TLS."""
    with socket.create_connection((address.ip, address.port)) as client:
        client.settimeout(0.5)
        try:
            return bool(client.recv(1))
        except TimeoutError:
            return False


def refused(config):
    with pytest.raises(ClusterError) as caught:
        expect_workers(config)
    return str(caught.value)


class TestASchedulerThatCannotListen:
    def test_an_address_that_is_not_of_this_machine_is_said(self, hosts, scratch):
        config = config_of(hosts, scratch, address="10.77.0.200", scheduler_port=8786)
        with (
            pytest.raises(ClusterError, match=r"cannot listen at 10\.77\.0\.200, port 8786"),
            open_cluster(config),
        ):
            pass

    def test_a_host_that_does_not_reach_it_says_so(self, hosts, scratch):
        # Only this host itself reaches an address of its loopback interface.
        config = config_of(hosts, scratch, address="127.0.0.1")
        with (
            pytest.raises(ClusterError, match=r"\.11: does not reach the scheduler at tcp"),
            open_cluster(config),
        ):
            pass


class TestHostsThatCannotBeUsed:
    def test_each_is_named_with_the_reason_and_the_cure(self, hosts, scratch, tmp_path):
        python = tmp_path / "python"
        python.write_text(f'#!/bin/sh\nexport PYTHONPATH=; exec {sys.executable} -S "$@"\n')
        python.chmod(0o755)
        lines = (
            f"{hosts.address(1)} python=/no/python",
            f"{hosts.address(2)} python={python}",
            hosts.address(2) + ":23",
            "nobody@" + hosts.address(2),
            "10.77.0.99 interface=eth7",
            f"{hosts.address(1)}:22 interface=eth7",
        )
        text = refused(config_of(hosts, scratch, lines=lines, connect_timeout=3.0))
        assert text.startswith("6 of 6 hosts cannot be used: ")
        first, second, closed, stranger, nowhere, interface = text.split(": ", 1)[1].split("; ")[:6]
        assert "10.77.0.11: /no/python does not run there" in first
        assert "not found" in first
        assert f"10.77.0.12: {python} (Python 3." in second
        assert " has no distcnn, dask, distributed, numpy, torch, zarr (" in second
        assert "10.77.0.12:23: " in closed
        assert "permission denied for nobody" in stranger
        assert "10.77.0.99: " in nowhere
        assert "has no interface 'eth7' with an address: eth0, lo" in interface
        assert "python=PATH" in text
        assert "cluster.min_workers" in text

    def test_an_unknown_key_of_a_host_tells_how_to_add_it(self, hosts, scratch, tmp_path):
        empty = tmp_path / "known_hosts"
        empty.touch()
        config = config_of(hosts, scratch).model_copy(update={"known_hosts": empty})
        text = refused(config)
        assert f"10.77.0.11: its key is not in {empty}" in text
        assert f"ssh-keyscan 10.77.0.11 >> {empty}" in text

    def test_those_that_are_fit_begin_if_they_are_enough(self, hosts, scratch):
        lines = (f"{hosts.address(1)} workers=1", "10.77.0.99 workers=1")
        heard = []
        config = config_of(hosts, scratch, lines=lines, min_workers=1, connect_timeout=2.0)
        with open_cluster(config, heard.append) as executor:
            assert executor.workers == 1
            assert [result.value for result in executor(square, [3])] == [9]
        assert any("10.77.0.99" in event.text and event.level == "warning" for event in heard)
        assert "2 workers" not in str(heard)


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
                one.kill()
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
