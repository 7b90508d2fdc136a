"""Hosts by ssh: real servers in network namespaces, with links that can be cut."""

import socket
import sys
import urllib.request
from pathlib import Path

import psutil
import pytest
from conformance.cluster_checks import WorkerChecks, square, wait_until
from machines.ssh_hosts import config_of, hosts_in

from distcnn.clusters import expect_workers, open_cluster
from distcnn.errors import ClusterError

ROOT = Path(__file__).parents[2]
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def hosts(tmp_path_factory):
    folder = tmp_path_factory.mktemp("ssh")
    with hosts_in(folder, 2) as hosts, hosts.inside(0):
        yield hosts


@pytest.fixture(scope="module")
def scratch(tmp_path_factory):
    return tmp_path_factory.mktemp("scratch")


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

    def test_no_key_is_on_the_dashboard(self, executor):
        home = executor.dashboard.removesuffix("/status")
        # Not /json/identity.json: Dask answers 500 there once a worker has told of its tasks,
        # for it counts them under tuples. The same is asked of the scheduler itself.
        texts = [str(executor.client.scheduler_info(n_workers=-1))]
        for page in ("/metrics", "/info/main/workers.html", "/json/counts.json"):
            with urllib.request.urlopen(home + page) as answer:
                texts.append(answer.read().decode())
        for text in texts:
            assert text
            assert "PRIVATE KEY" not in text


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
