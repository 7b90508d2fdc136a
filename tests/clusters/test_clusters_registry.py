"""The registry: every row has what it says, and an unknown name lists those there are."""

import importlib
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from conformance.cluster_checks import ClusterChecks

from distcnn.clusters import open_cluster, registry
from distcnn.clusters.registry import ROWS, Row, backends_help, find_backend
from distcnn.config import BackendConfig, ClusterConfig, load_config, to_yaml
from distcnn.config.describe import describe
from distcnn.errors import ClusterError, ConfigError

ROOT = Path(__file__).parents[2]
EXTRAS = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
class TestEveryRow:
    def test_its_module_has_the_functions_of_a_backend(self, row):
        backend = row.load()
        for name in ("open_executor", "expect"):
            assert callable(getattr(backend, name))
            assert getattr(backend, name).__doc__

    def test_its_settings_are_those_of_a_cluster(self, row):
        assert issubclass(row.load_settings(), BackendConfig)

    def test_its_extra_can_be_installed(self, row):
        assert row.extra is None or row.extra in EXTRAS

    def test_it_is_found_by_what_a_user_writes(self, row):
        assert find_backend(row.written.replace("PORT", "8786")) is row

    def test_help_names_it_with_its_sentence(self, row):
        assert f"{row.written}: {row.sentence}" in backends_help()


def test_no_two_backends_are_called_alike():
    assert len({row.name for row in ROWS}) == len(ROWS)


@pytest.mark.parametrize("name", ["moon", "tcp://", "tcp://here", "http://a:1", ""])
def test_an_unknown_backend_lists_those_there_are(name):
    with pytest.raises(ConfigError) as caught:
        load_config(None, [f"cluster.backend='{name}'"])
    text = str(caught.value)
    assert text.startswith(f"--set cluster.backend='{name}': cluster.backend = '{name}'")
    assert all(row.written in text for row in ROWS)
    assert "cuda (pip install 'distcnn[cuda]')" in text
    assert "or tcp://HOST:PORT" in text
    assert "pattern" not in text


def test_a_misspelt_backend_names_the_nearest():
    with pytest.raises(ConfigError, match=r"Did you mean 'local'\?$"):
        load_config(None, ["cluster.backend=locl"])


def test_a_typing_error_in_a_file_is_found_by_its_line(tmp_path):
    path = tmp_path / "my.yaml"
    path.write_text("cluster:\n  workers: 2\n  backend: moon\n")
    with pytest.raises(ConfigError, match=r"my\.yaml, line 3: cluster\.backend = 'moon'"):
        load_config(path)


def test_the_address_of_a_scheduler_is_a_backend():
    assert load_config(None, ["cluster.backend=tls://a:1"]).cluster.backend == "tls://a:1"
    assert find_backend("tls://a:1").name == "existing"


@pytest.fixture
def queue(monkeypatch):
    row = Row("queue", "queue_backend", "workers of a queue", settings="QueueConfig")
    monkeypatch.setattr(registry, "ROWS", (*ROWS, row))
    return row


@pytest.mark.usefixtures("queue")
class TestANewBackend(ClusterChecks):
    """One module and one row: the configuration, its errors and its reference know it."""

    @pytest.fixture
    def config(self):
        return load_config(None, ["cluster.backend=queue", "cluster.queue=night"]).cluster

    @pytest.fixture
    def executor(self, config):
        with open_cluster(config) as executor:
            yield executor

    def test_its_own_keys_are_read_and_written(self, config, tmp_path):
        model = importlib.import_module("queue_backend").QueueConfig
        assert config == model(backend="queue", queue="night")
        whole = load_config(None, ["cluster.backend=queue", "cluster.queue=night"])
        path = tmp_path / "again.yaml"
        path.write_text(to_yaml(whole, "Again"))
        assert load_config(path) == whole

    def test_its_key_is_unknown_to_the_others(self):
        said = r"unknown key 'cluster\.queue'.*It is a key of queue"
        with pytest.raises(ConfigError, match=said):
            load_config(None, ["cluster.queue=night"])

    def test_a_misspelt_key_of_its_own_names_the_nearest(self):
        with pytest.raises(ConfigError, match="Did you mean 'queue'"):
            load_config(None, ["cluster.backend=queue", "cluster.queu=night"])

    def test_a_missing_key_of_its_own_is_said(self):
        with pytest.raises(ConfigError, match=r"cluster\.queue is missing"):
            load_config(None, ["cluster.backend=queue"])

    def test_the_reference_lists_its_keys(self):
        assert "## `cluster` with `backend: queue`" in describe()
        assert "| `queue` | text | required | Name of the queue. |" in describe()


def test_a_configuration_made_by_hand_is_checked_too():
    with pytest.raises(ValueError, match=r"local, cuda .* or tcp://HOST:PORT"):
        ClusterConfig(backend="moon")
    with (
        pytest.raises(ClusterError, match="no cluster backend 'moon': expected local"),
        open_cluster(ClusterConfig().model_copy(update={"backend": "moon"})),
    ):
        pass


def test_the_names_of_backends_cost_no_library_when_a_command_starts():
    heavy = {"numpy", "dask", "distributed", "torch", "zarr", "pydantic", "yaml"}
    code = f"import sys, distcnn.cli; print(*({heavy!r} & set(sys.modules)))"
    words = [sys.executable, "-c", code]
    told = subprocess.run(words, capture_output=True, text=True, check=True, cwd=ROOT)
    assert told.stdout.split() == []
