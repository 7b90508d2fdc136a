"""Hosts as they are written, what each says of itself, and who gets how many workers."""

import json
import subprocess
import sys

import psutil
import pytest

from distcnn import __version__
from distcnn.clusters.ssh import (
    HostConfig,
    SshConfig,
    address_here,
    name_workers,
    open_executor,
)
from distcnn.clusters.ssh.connection import python_command
from distcnn.clusters.ssh.examine import PROBE, Host, Unfit, judge
from distcnn.clusters.ssh.settings import read_hosts
from distcnn.config import load_config, to_yaml
from distcnn.errors import ClusterError, ConfigError, MissingExtra


def config_of(hosts, **settings):
    return SshConfig(backend="ssh", hosts=hosts, **settings)


def host_of(line, **found):
    usual = {"address": "10.0.0.2", "seen": "10.0.0.1", "cores": 4, "memory": 10**9}
    return Host(HostConfig.model_validate(line), **{**usual, **found})


@pytest.fixture
def written(tmp_path):
    def write(text):
        path = tmp_path / "hosts.txt"
        path.write_text(text)
        return config_of(str(path))

    return write


class TestTheHostsFile:
    def test_a_line_is_a_host_with_its_keys(self, written):
        text = "# ours\n\nnode1\nada@node2:2222 workers=3 python='/opt/my env/python' # big\n"
        assert read_hosts(written(text + "[fe80::1]:22 interface=eth1\nfe80::2 port=23\n")) == (
            HostConfig(host="node1"),
            HostConfig(host="node2", user="ada", port=2222, workers=3, python="/opt/my env/python"),
            HostConfig(host="fe80::1", port=22, interface="eth1"),
            HostConfig(host="fe80::2", port=23),
        )

    @pytest.mark.parametrize(
        ("line", "words"),
        [
            ("node2 workers=none", "workers = 'none'"),
            ("node2 workers=0", "greater than or equal to 1"),
            ("node2 worker=3", "unknown key 'worker': expected one of host, user, port, workers"),
            ("node2 fast", "'fast' is not key=value"),
            ("node2:22 port=23", "port is given twice"),
            ("node2 python='/a", "cannot be read"),
            ("ada@", "host = ''"),
            ("node1", r"the host node1 stands in .*hosts.txt, line 1 already"),
        ],
    )
    def test_a_wrong_line_is_named(self, written, line, words):
        with pytest.raises(ConfigError, match=rf"hosts\.txt, line 3.*{words}"):
            read_hosts(written(f"node1\n\n{line}\n"))

    def test_a_file_that_is_not_there_tells_what_it_should_hold(self, tmp_path):
        with pytest.raises(ConfigError, match=r"no\.txt.*a host per line: \[user@\]host.*--set"):
            read_hosts(config_of(str(tmp_path / "no.txt")))

    def test_a_file_without_a_host_is_refused(self, written):
        with pytest.raises(ConfigError, match="there is no host in"):
            read_hosts(written("# none yet\n"))

    def test_a_list_in_yaml_will_do(self, tmp_path):
        path = tmp_path / "my.yaml"
        path.write_text(
            "cluster:\n  backend: ssh\n  hosts:\n"
            "    - ada@node1 workers=2\n    - {host: node2, python: /opt/python}\n"
        )
        config = load_config(path)
        first, second = read_hosts(config.cluster)
        assert (first.user, first.host, first.workers) == ("ada", "node1", 2)
        assert second.python == "/opt/python"
        path.write_text(to_yaml(config, "Again"))
        assert load_config(path) == config

    def test_a_wrong_entry_of_a_list_is_named(self, tmp_path):
        path = tmp_path / "my.yaml"
        path.write_text("cluster:\n  backend: ssh\n  hosts: [node1, node2 workers=x]\n")
        with pytest.raises(ConfigError, match=r"my\.yaml, line 3: cluster\.hosts.*workers"):
            load_config(path)


class TestWhoGetsHowManyWorkers:
    def names(self, config, *hosts):
        return [host.worker_names for host in name_workers(config, hosts)]

    def test_as_many_as_a_host_has_cores_for_their_threads(self):
        config = config_of(("a",), threads=2)
        assert self.names(config, host_of("a", cores=5)) == [("a-0", "a-1")]
        assert self.names(config, host_of("a", cores=1)) == [("a-0",)]

    def test_as_many_as_its_line_says(self):
        assert self.names(config_of(("a",)), host_of("a workers=2")) == [("a-0", "a-1")]

    def test_a_limit_is_shared_out_evenly(self):
        hosts = host_of("a workers=1"), host_of("b workers=4"), host_of("c workers=4")
        found = self.names(config_of(("a",), workers=6), *hosts)
        assert [len(names) for names in found] == [1, 3, 2]
        assert self.names(config_of(("a",), workers=1), *hosts) == [("a-0",)]


class TestWhereTheSchedulerListens:
    @pytest.fixture(autouse=True)
    def here(self, monkeypatch):
        of = psutil.net_if_addrs()["lo"][0]._replace
        interfaces = {"lo": [of(address="127.0.0.1")], "eth0": [of(address="10.0.0.1")]}
        monkeypatch.setattr(psutil, "net_if_addrs", lambda: interfaces)

    def test_where_the_hosts_see_this_machine(self):
        assert address_here(config_of(("a",)), [host_of("a"), host_of("b")]) == "10.0.0.1"

    def test_a_host_that_is_this_machine_has_no_say_beside_others(self):
        local = host_of("localhost", seen="127.0.0.1")
        assert address_here(config_of(("a",)), [local, host_of("b")]) == "10.0.0.1"
        assert address_here(config_of(("a",)), [local]) == "127.0.0.1"

    def test_behind_a_router_the_user_is_told(self):
        with pytest.raises(ClusterError, match=r"b sees this machine at 1\.2\.3\.4.*run the com"):
            address_here(config_of(("a",)), [host_of("b", seen="1.2.3.4")])

    def test_two_addresses_are_named_for_the_user_to_choose(self):
        hosts = host_of("a"), host_of("b", seen="10.9.0.1")
        with pytest.raises(ClusterError, match=r"a sees 10\.0\.0\.1, b sees 10\.9\.0\.1.*address"):
            address_here(config_of(("a",)), hosts)
        assert address_here(config_of(("a",), address="10.9.0.1"), hosts) == "10.9.0.1"


@pytest.fixture
def said():
    """What this machine says of itself."""
    done = subprocess.run(
        [sys.executable, "-"], input=PROBE.read_bytes(), capture_output=True, check=True
    )
    text = done.stdout.decode().removeprefix("distcnn-probe: ")
    return {**json.loads(text), "connection": ["10.0.0.1", "50", "10.0.0.2", "22"]}


class TestWhatAHostSaysOfItself:
    def judged(self, said, line="node1"):
        host = HostConfig.model_validate(line)
        return judge(config_of((line,), python="/opt/python"), host, said)

    def test_one_like_this_is_fit(self, said):
        fit = self.judged(said)
        assert (fit.address, fit.seen) == ("10.0.0.2", "10.0.0.1")
        assert fit.cores >= 1
        assert fit.memory > 10**8

    def test_its_interface_may_be_named(self, said):
        assert self.judged(said, "node1 interface=lo").address == "127.0.0.1"

    def test_other_versions_are_listed(self, said):
        said["versions"] |= {"numpy": "1.2.3", "distcnn": "0.0.1", "torch": "9.9+cu130"}
        unfit = self.judged({**said, "python": [3, 9, 2]})
        assert isinstance(unfit, Unfit)
        assert "numpy 1.2.3 (here " in unfit.why
        assert f"distcnn 0.0.1 (here {__version__})" in unfit.why
        assert f"Python 3.9 (here 3.{sys.version_info.minor})" in unfit.why
        assert "constraints.txt" in unfit.cure

    def test_torch_for_other_devices_is_the_same_torch(self, said):
        here = said["versions"]["torch"].split("+")[0]
        said["versions"]["torch"] = f"{here}+cu130"
        assert isinstance(self.judged(said), Host)

    def test_what_is_missing_is_named_with_the_line_that_installs_it(self, said):
        said["versions"]["dask"] = None
        unfit = self.judged({**said, "problem": "ModuleNotFoundError: dask"})
        assert "has no dask (ModuleNotFoundError: dask)" in unfit.why
        assert "/opt/python -m pip install 'distcnn[ssh]'" in unfit.cure


def test_the_command_for_a_host_survives_a_shell():
    config = config_of(("a",), setup=("export WHAT='a b'", "cd /tmp"))
    host = HostConfig(host="a", python=sys.executable)
    code = "import os; print(os.environ['WHAT'], os.getcwd())"
    command = python_command(config, host, "-c", code)
    done = subprocess.run(command, shell=True, capture_output=True, text=True, check=True)
    assert done.stdout == "a b /tmp\n"


def test_without_the_extra_it_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "asyncssh", None)
    with (
        pytest.raises(MissingExtra, match=r"need asyncssh.*distcnn\[ssh\]"),
        open_executor(config_of(("a",))),
    ):
        pass
