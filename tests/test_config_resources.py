"""Resources are stated once; files with the former names still open and mean what they meant."""

from typing import Any

import pytest

from distcnn.config import (
    Config,
    DistilConfig,
    PredictConfig,
    ResourcesConfig,
    TrainConfig,
    load_config,
    to_yaml,
)
from distcnn.config.describe import describe
from distcnn.config.resources import followers
from distcnn.errors import ConfigError

DEVICES = ["train.distribute.device", "distil.device", "predict.device"]
OLD: dict[str, dict[str, Any]] = {
    "train": {
        "augment": {
            "continuum": 0.01,
            "drop_parallax": 0.05,
            "drop_pixels": 0.05,
            "drop_xp": 0.05,
            "noise": 0.7,
            "velocity": 1.5,
        },
        "batch": 256,
        "distribute": {
            "attempts": 3,
            "checkpoint": 2000,
            "device": "auto",
            "lanes": 8,
            "memory": 1500000000,
            "ranks": None,
            "strategy": "auto",
            "stream": "auto",
            "timeout": 60.0,
        },
        "epochs": 40,
        "keep": 1.0,
        "labels": None,
        "learning_rate": 0.0042,
        "members": 8,
        "network": {
            "dropout": 0.1,
            "flux": "linear",
            "hidden": 128,
            "photometry": True,
            "preset": "hybrid",
            "spectrum": True,
            "width": 16,
            "xp": True,
        },
        "patience": 15,
        "seed": 0,
        "split": {
            "calibration": 0.15,
            "groups": None,
            "rotate": 0.0,
            "seed": 0,
            "train": 0.65,
            "validation": 0.1,
        },
        "weight_decay": 0.2,
    },
    "distil": {
        "augment": {
            "continuum": 0.01,
            "drop_parallax": 0.05,
            "drop_pixels": 0.05,
            "drop_xp": 0.05,
            "noise": 0.7,
            "velocity": 1.5,
        },
        "batch": 256,
        "device": "auto",
        "epochs": 40,
        "learning_rate": 0.003,
        "memory": 1500000000,
        "network": {"dropout": 0.0, "hidden": 128, "width": 16},
        "patience": 15,
        "seed": 0,
        "stars": 200000,
        "weight_decay": 0.02,
    },
}
"""The sections as packages and runs hold them that were begun before ``resources``."""
FORMER = [".".join(path) for path, mark in followers(Config) if mark.former]


def value(config, key):
    for name in key.split("."):
        config = getattr(config, name)
    return config


def test_the_defaults_are_those_that_every_stage_had():
    config = Config()
    assert config.resources == ResourcesConfig(device="auto", memory=4_000_000_000)
    assert [value(config, key) for key in DEVICES] == ["auto"] * 3
    assert config.predict.worker_memory == PredictConfig().worker_memory == 1_500_000_000
    assert config.cluster.memory_limit == 4_000_000_000


def test_every_stage_has_what_resources_say():
    config = load_config(None, ["resources.device=cpu", "resources.memory=8 GB"])
    assert [value(config, key) for key in DEVICES] == ["cpu"] * 3
    assert (config.cluster.memory_limit, config.predict.worker_memory) == (8 * 10**9, 3 * 10**9)


def test_threads_of_a_worker_reach_the_cluster():
    assert load_config(None, ["resources.threads=3"]).cluster.threads == 3
    with pytest.raises(ConfigError, match=r"resources\.threads = 0"):
        load_config(None, ["resources.threads=0"])


def test_what_a_plan_may_count_on_can_be_said():
    config = load_config(None, ["resources.planned_memory=2 GB"])
    assert (config.cluster.memory_limit, config.predict.worker_memory) == (4 * 10**9, 2 * 10**9)


@pytest.mark.parametrize("key", DEVICES)
def test_a_former_name_of_the_device_gives_the_device_to_every_stage(key):
    config = load_config(None, [f"{key}=cpu"])
    assert config.resources.device == "cpu"
    assert [value(config, other) for other in DEVICES] == ["cpu"] * 3


def test_former_names_of_memory_keep_their_meaning(tmp_path):
    old = tmp_path / "old.yaml"
    old.write_text("cluster:\n  memory_limit: 6 GB\npredict:\n  worker_memory: 2 GB\n")
    config = load_config(old)
    assert (config.resources.memory, config.resources.planned_memory) == (6 * 10**9, 2 * 10**9)
    assert (config.cluster.memory_limit, config.predict.worker_memory) == (6 * 10**9, 2 * 10**9)


@pytest.mark.parametrize(
    ("sets", "texts"),
    [
        (
            ["resources.device=cuda", "predict.device=cpu"],
            ["resources.device = 'cuda' and predict.device = 'cpu'", "Leave out predict.device."],
        ),
        (
            ["resources.memory=4 GB", "cluster.memory_limit=5 GB"],
            ["resources.memory = 4000000000", "cluster.memory_limit = 5000000000"],
        ),
        (
            ["resources.planned_memory=1 GB", "predict.worker_memory=2 GB"],
            ["resources.planned_memory = 1000000000", "predict.worker_memory = 2000000000"],
        ),
    ],
)
def test_a_key_and_its_former_name_must_agree(sets, texts):
    with pytest.raises(ConfigError) as caught:
        load_config(None, sets)
    assert all(text in str(caught.value) for text in texts)


def test_a_key_and_its_former_name_may_both_say_the_same():
    config = load_config(None, ["resources.memory=4 GB", "cluster.memory_limit=4000000000"])
    assert config.resources.memory == 4_000_000_000


def test_an_old_file_with_a_device_for_each_stage_still_means_that(tmp_path):
    old = tmp_path / "old.yaml"
    old.write_text("train:\n  distribute:\n    device: auto\npredict:\n  device: cpu\n")
    config = load_config(old)
    assert [value(config, key) for key in DEVICES] == ["auto", "auto", "cpu"]
    path = tmp_path / "again.yaml"
    path.write_text(to_yaml(config, "Again"))
    assert load_config(path) == config


@pytest.mark.parametrize("sets", [[], ["predict.device=cpu"], ["resources.memory=8 GB"]])
def test_a_written_configuration_names_resources_and_no_former_key(sets, tmp_path):
    config = load_config(None, sets)
    path = tmp_path / "written.yaml"
    path.write_text(to_yaml(config, "Written"))
    assert load_config(path) == config
    changed = load_config(path, ["resources.device=cuda", "resources.planned_memory=7 GB"])
    assert [value(changed, key) for key in DEVICES] == ["cuda"] * 3
    assert changed.predict.worker_memory == 7_000_000_000


def test_edges_of_signal_to_noise_are_stated_once():
    config = load_config(None, ["quality.snr_edges=[10, 20]"])
    assert config.report.snr_edges == config.quality.snr_edges == (10.0, 20.0)
    config = load_config(None, ["quality.snr_edges=[10, 20]", "report.snr_edges=[30]"])
    assert config.report.snr_edges == (30.0,)


def test_a_configuration_given_as_models_is_settled_too():
    config = Config(resources=ResourcesConfig(device="cpu"), train=TrainConfig(members=2))
    assert (config.train.members, config.train.distribute.device) == (2, "cpu")
    # Put together again, what was copied there is not taken for given.
    other = Config(train=config.train, resources=ResourcesConfig(device="cuda"))
    assert other.train.distribute.device == "cuda"


def test_a_package_or_run_begun_before_has_the_keys_that_are_asked_for_today():
    """Manifests and fingerprints hold these sections as JSON, compared key by key."""
    train = load_config(None, ["resources.device=cpu"]).train.model_dump(mode="json")
    assert train["distribute"]["device"] == "cpu"
    assert TrainConfig.model_validate(train).model_dump(mode="json") == train
    train = Config().train.model_dump(mode="json")
    assert _known(train, OLD["train"]) == OLD["train"]
    assert TrainConfig.model_validate(OLD["train"]) == Config().train
    assert _known(Config().distil.model_dump(mode="json"), OLD["distil"]) == OLD["distil"]


def _known(today, before):
    """What stands today under the keys that were there before, at every depth."""
    if not isinstance(before, dict):
        return today
    return {key: _known(today[key], value) for key, value in before.items()}


def test_training_and_distillation_share_the_keys_of_the_optimiser():
    train, distil = TrainConfig().optimiser(), DistilConfig().optimiser()
    assert train.keys() == distil.keys()
    assert TrainConfig(**distil).optimiser() == distil


@pytest.mark.parametrize("key", FORMER)
def test_the_reference_lists_former_names_apart(key):
    section, _, name = key.rpartition(".")
    text = describe()
    assert f"| `{key}` | `resources." in text
    table = text.partition(f"## `{section}`")[2].partition("\n## ")[0]
    assert f"| `{name}` |" not in table
