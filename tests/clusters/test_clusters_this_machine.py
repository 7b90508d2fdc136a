"""What a plan may count on is what the process can have, not what the machine has."""

import resource
import subprocess
import sys

import psutil
import pytest

from distcnn.clusters import this_machine
from distcnn.clusters.this_machine import free_memory

GIB = 2**30


@pytest.fixture
def groups(tmp_path, monkeypatch):
    """Control groups in a folder, those of the process as ``member`` says."""

    def make(member, files):
        (tmp_path / "member").write_text(member)
        for name, text in files.items():
            path = tmp_path / "cgroup" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        monkeypatch.setattr(this_machine, "MEMBERSHIP", tmp_path / "member")
        monkeypatch.setattr(this_machine, "CGROUPS", tmp_path / "cgroup")

    return make


def test_without_limits_it_is_what_the_machine_has(groups):
    groups("0::/job\n", {"job/memory.max": "max\n", "job/memory.current": "5\n"})
    assert free_memory() == pytest.approx(psutil.virtual_memory().available, rel=0.5)


@pytest.mark.parametrize(
    ("member", "files"),
    [
        ("0::/a/job\n", {"a/job/memory.max": "1000", "a/job/memory.current": "400"}),
        ("0::/a/job\n", {"a/memory.max": "1000", "a/memory.current": "400"}),
        ("0::/of/the/host\n", {"memory.max": "1000", "memory.current": "400"}),
        (
            "3:cpu:/x\n4:memory:/job\n0::/\n",
            {
                "memory/job/memory.limit_in_bytes": "1000",
                "memory/job/memory.usage_in_bytes": "700",
                "memory/job/memory.stat": "cache 500\ntotal_inactive_file 300\n",
            },
        ),
    ],
)
def test_the_limit_of_a_control_group_counts(groups, member, files):
    groups(member, files)
    assert free_memory() == 600


def test_the_limit_of_a_shell_counts():
    code = "from distcnn.clusters.this_machine import free_memory; print(free_memory())"
    done = subprocess.run(
        [sys.executable, "-c", code],
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_AS, (4 * GIB, 4 * GIB)),
        capture_output=True,
        text=True,
        check=True,
    )
    assert 0 < int(done.stdout) < 4 * GIB
