"""Where engines keep what can be made again."""

import os
from pathlib import Path

import pytest

from distcnn.inference.engines import cache


def test_a_user_without_a_home_keeps_nothing(monkeypatch):
    def nowhere() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.delenv("DISTCNN_CACHE")
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setattr(cache.Path, "home", nowhere)
    folder = cache.cache_folder()
    assert folder.is_relative_to(os.devnull)
    with pytest.raises(OSError, match="Not a directory"):
        folder.mkdir(parents=True)
