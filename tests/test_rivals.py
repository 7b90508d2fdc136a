"""Configurations of the networks that ``benchmarks/rivals.py`` sets beside ours."""

import argparse
from importlib import import_module
from pathlib import Path

import pytest


@pytest.mark.parametrize("name", ["simulated", "miles"])
@pytest.mark.parametrize("preset", ["rave2020", "hr15n2023"])
def test_a_published_network_is_trained_on_the_flux_of_ours(
    name: str, preset: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(Path(__file__).parents[1] / "benchmarks"))
    options = argparse.Namespace(folder=tmp_path, folds=2)
    rivals = import_module("rivals").Rivals(name, options)
    ours, theirs = rivals.config(1), rivals.published_config(1, preset)
    assert theirs.train.network.preset == preset
    assert theirs.train.network.flux == ours.train.network.flux
    assert theirs.train.split.rotate == ours.train.split.rotate
    assert theirs.train.epochs == ours.train.epochs
    assert not theirs.train.stacking.methods
