"""What preflight asks of a process, and how it judges the answers."""

import inspect
import subprocess
import sys

import pytest

from distcnn.clusters.dask_workers.preflight import examine as examination
from distcnn.clusters.dask_workers.preflight.examine import examine, probe_digest
from distcnn.clusters.dask_workers.preflight.report import HOSTS_SHOWN, Report
from distcnn.clusters.dask_workers.preflight.tokens import exchanged_beside, probe_of
from distcnn.clusters.dask_workers.preflight.verdict import PACKAGES, judge
from distcnn.clusters.places import Places
from distcnn.config import ClusterConfig
from distcnn.errors import ClusterError, UsageError
from distcnn.location import Location

REQUEST = {"packages": PACKAGES, "settings": ("distributed.scheduler.allowed-failures",)}


@pytest.fixture(scope="module")
def facts():
    """Of this process, as Dask would complete them."""
    return {**examine(REQUEST), "memory_limit": 4 * 10**9, "nthreads": 1, "threads": "1"}


def judged(facts, tmp_path, *changes, scheduler=None, settings=None, memory=0):
    """The report of workers that differ so from this process."""
    workers = {f"tcp://{n}": {**facts, "preloaded": True, **c} for n, c in enumerate(changes)}
    report = Report(workers, facts, places=("survey", "beside the output"))
    places = Places(Location.parse(tmp_path / "out"), {}, memory)
    judge(report, scheduler or facts, ClusterConfig(), places, settings or {})
    return report


def refusal(report):
    with pytest.raises(ClusterError) as caught:
        report.check()
    return str(caught.value)


def other(facts, **versions):
    return {"versions": {**facts["versions"], **versions}}


def test_what_is_asked_can_be_answered_without_distcnn():
    source = inspect.getsource(examination)
    asked = f"print(space['examine']({REQUEST!r})['python'])"
    code = f"space = {{'__name__': 'x'}}\nexec({source!r}, space)\n{asked}"
    blocked = "import sys\nsys.modules['distcnn'] = None\n" + code
    words = [sys.executable, "-c", blocked]
    told = subprocess.run(words, capture_output=True, text=True, check=True).stdout
    assert told.split(".")[:2] == sys.version.split(".")[:2]


def test_equal_workers_are_fit(facts, tmp_path):
    report = judged(facts, tmp_path, {}, {})
    report.check()
    assert report.warnings == []
    assert str(report).startswith("Workers: 2 workers on 1 host, fit for the run\n")
    assert f"numpy {facts['versions']['numpy']}" in str(report)
    assert "survey, beside the output: seen by all" in str(report)


def test_other_versions_are_listed_with_what_to_install(facts, tmp_path):
    there = other(facts, zarr="3.0.0", numpy="1.26.4")
    text = refusal(judged(facts, tmp_path, {}, there, there))
    assert "2 of 3 workers have numpy 1.26.4, zarr 3.0.0: expected numpy" in text
    ours = facts["versions"]
    assert f"pip install 'numpy=={ours['numpy']}' 'zarr=={ours['zarr']}'" in text


def test_a_package_that_is_missing_is_said(facts, tmp_path):
    text = refusal(judged(facts, tmp_path, other(facts, distcnn=None)))
    assert "1 of 1 workers has no distcnn" in text


def test_the_same_torch_for_a_gpu_is_the_same_version(facts, tmp_path):
    public = facts["versions"]["torch"].partition("+")[0]
    judged(facts, tmp_path, other(facts, torch=f"{public}+cu130")).check()


def test_another_python_and_other_code_are_refused(facts, tmp_path):
    assert "has python 3.9.1" in refusal(judged(facts, tmp_path, {"python": "3.9.1"}))
    assert "with other code" in refusal(judged(facts, tmp_path, {"code": "0"}))


def test_a_scheduler_has_to_share_what_it_speaks(facts, tmp_path):
    judged(facts, tmp_path, {}, scheduler={**facts, **other(facts, torch=None)}).check()
    old = {**facts, **other(facts, distributed="2024.1.0")}
    text = refusal(judged(facts, tmp_path, {}, scheduler=old))
    assert "the scheduler has distributed 2024.1.0" in text


def test_settings_of_the_scheduler_are_refused_with_the_lines_to_export(facts, tmp_path):
    wanted = {"distributed.scheduler.allowed-failures": 0}
    text = refusal(judged(facts, tmp_path, {}, settings=wanted))
    assert "export DASK_DISTRIBUTED__SCHEDULER__ALLOWED_FAILURES=0" in text
    assert "cluster.accept_settings=true" in text


def test_places_that_are_not_seen_are_told_once_for_all_workers(facts, tmp_path):
    blind = {"unseen": {"survey": "/data/survey.zarr: No such file (FileNotFoundError)"}}
    text = refusal(judged(facts, tmp_path, {}, blind, {**blind, "host": "node2"}))
    assert text.count("/data/survey.zarr") == 1
    assert "2 of 3 workers" in text
    assert "node2" in text


def test_too_little_memory_is_refused_and_what_is_odd_is_told(facts, tmp_path):
    assert "which one may need" in refusal(judged(facts, tmp_path, {}, memory=5 * 10**9))
    odd = {"threads": None, "nthreads": 4, "disk_free": 1, "preloaded": False, "gpus": 1}
    report = judged(facts, tmp_path, odd, {"gpus": 0, "memory_free": 10}, memory=100)
    report.check()
    assert len(report.warnings) == 6


def test_a_table_of_many_hosts_stays_short(facts, tmp_path):
    report = judged(facts, tmp_path, *({"host": f"node{n:03d}"} for n in range(50)))
    assert f"and {50 - HOSTS_SHOWN} more hosts" in str(report)


def test_a_token_is_read_and_answered(tmp_path):
    with exchanged_beside(Location.parse(tmp_path / "not" / "yet" / "out.zarr")) as tokens:
        answer = examine({**REQUEST, **tokens.request})
        assert answer["unseen"] == {}
        assert tokens.unread({"tcp://1": answer["token"]}) == []
    assert list(tmp_path.iterdir()) == []


def test_tokens_are_gone_after_an_error_too(tmp_path):
    def fail():
        with exchanged_beside(Location.parse(tmp_path / "out")):
            assert len(list(tmp_path.iterdir())) == 1
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert list(tmp_path.iterdir()) == []


def test_another_file_of_the_same_name_is_found_out(tmp_path):
    (tmp_path / "zarr.json").write_text("{}")
    probe = probe_of(Location.parse(tmp_path))
    assert probe == {"file": str(tmp_path / "zarr.json"), "digest": probe_digest(b"{}")}
    (tmp_path / "zarr.json").write_text("{ }")
    seen = examine({**REQUEST, "reads": [{"what": "survey", **probe}]})["unseen"]
    assert "holds something else" in seen["survey"]


def test_a_place_where_nothing_can_be_written_is_said(tmp_path):
    (tmp_path / "file").write_text("")
    with (
        pytest.raises((UsageError, OSError), match="file"),
        exchanged_beside(Location.parse(tmp_path / "file" / "out")),
    ):
        pass
