"""``--cluster NAME``: a preset, a file or an address, below what the user's own file says."""

import pytest

from distcnn.clusters.registry import ROWS
from distcnn.config import (
    CudaConfig,
    ExistingConfig,
    LocalConfig,
    SerialConfig,
    conf_folder,
    load_config,
    to_yaml,
)
from distcnn.config.reading.cluster_choice import presets
from distcnn.errors import ConfigError
from distcnn.pipeline import forecast_run


@pytest.fixture
def write(tmp_path):
    def _write(name: str, text: str) -> str:
        path = tmp_path / name
        path.write_text(text)
        return str(path)

    return _write


def refusal(*args, **options) -> str:
    with pytest.raises(ConfigError) as caught:
        load_config(*args, **options)
    return str(caught.value)


def test_every_backend_that_is_asked_for_by_its_name_has_a_preset_and_a_preset_a_backend():
    assert set(presets()) >= {row.name for row in ROWS if not row.schemes}
    for name in presets():
        assert load_config(cluster=name).cluster.backend == name


def test_each_backend_has_a_model_of_its_own():
    kinds = {"local": LocalConfig, "cuda": CudaConfig, "serial": SerialConfig}
    kinds["tcp://a:1"] = ExistingConfig
    for choice, kind in kinds.items():
        assert type(load_config(cluster=choice).cluster) is kind
    assert "workers" not in SerialConfig.model_fields


def test_a_preset_brings_resources_too():
    assert load_config(cluster="cuda").resources.device == "cuda"


def test_the_users_own_keys_stand_on_top_of_the_preset_and_sets_on_top_of_both(write):
    mine = write("my.yaml", "cluster:\n  workers: 3\n  attempts: 7\nresources:\n  device: cpu\n")
    config = load_config(mine, ["cluster.workers=4"], "cuda")
    assert (config.cluster.backend, config.cluster.workers) == ("cuda", 4)
    assert (config.cluster.attempts, config.resources.device) == (7, "cpu")


def test_keys_for_another_backend_do_not_hinder(write):
    mine = write("my.yaml", "cluster:\n  backend: local\n  workers: 3\n  dashboard: null\n")
    assert load_config(mine, (), "serial").cluster == SerialConfig()
    assert load_config(mine, (), "cuda").cluster.workers == 3


def test_a_file_is_a_cluster(write):
    site = write("site.yaml", "cluster:\n  backend: local\n  workers: 5\n")
    config = load_config("demo", (), site)
    assert config.cluster.workers == 5
    assert config.train == load_config("demo").train


def test_a_file_for_a_cluster_has_no_other_section(write):
    text = refusal(cluster=write("site.yaml", "cluster:\n  backend: local\ntrain:\n  members: 2\n"))
    assert "site.yaml has 'cluster', 'train'" in text
    assert "Give other sections by --conf" in text
    assert "key backend" in refusal(cluster=write("empty.yaml", ""))


def test_an_error_in_a_cluster_file_names_its_line(write):
    site = write("site.yaml", "cluster:\n  backend: local\n  workers: 0\n")
    assert "site.yaml, line 3: cluster.workers = 0" in refusal(cluster=site)
    site = write("site.yaml", "cluster:\n  backend: lokal\n")
    assert "site.yaml, line 2: there is no cluster 'lokal'" in refusal(cluster=site)


def test_a_file_that_is_not_there_is_said_with_the_nearest_preset(tmp_path):
    text = refusal(cluster=str(tmp_path / "loca.yaml"))
    assert "there is no cluster file" in text
    assert text.endswith("Did you mean 'local'?")


@pytest.mark.parametrize("name", ["moon", "tcp://", "tcp://here", "http://a:1", "kuda"])
def test_an_unknown_name_lists_those_there_are_with_their_extras(name):
    text = refusal(cluster=name)
    assert text.startswith(f"--cluster {name}: there is no cluster {name!r}: expected a YAML file")
    assert all(row.written in text for row in ROWS)
    assert "cuda (pip install 'distcnn[cuda]')" in text
    assert ("Did you mean 'cuda'?" in text) == (name == "kuda")


def test_a_configuration_of_any_backend_is_read_back(tmp_path):
    for name in (*presets(), "tls://a:1"):
        config = load_config(cluster=name)
        path = tmp_path / "again.yaml"
        path.write_text(to_yaml(config, "Again"))
        assert load_config(path) == config


def test_files_from_before_backends_had_models_of_their_own_still_open(write):
    for backend in ("local", "serial", "cuda", "tcp://a:1"):
        text = f"cluster:\n  backend: {backend}\n  workers: 2\n  dashboard: 127.0.0.1:0\n"
        text += "  memory_limit: 4000000000\n  threads: 1\n  in_flight: 2\n  attempts: 3\n"
        assert load_config(write("old.yaml", text + "  patience: 120.0\n")).cluster.threads == 1


def test_a_forecast_takes_a_cluster_for_devices(write):
    site = "cluster:\n  backend: local\n  workers: 5\n  rates: H200\n"
    text = str(forecast_run(1_000_000, 800, 28, write("site.yaml", site)))
    assert "devices     5 x H200\n" in text
    assert "devices     1 x cpu-core-avx2\n" in str(forecast_run(1_000_000, 800, 28, "serial"))


def test_presets_say_in_their_first_line_what_they_are():
    for path in (conf_folder() / "clusters").glob("*.yaml"):
        assert path.read_text().startswith(f"# --cluster {path.stem}: ")
