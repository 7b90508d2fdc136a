"""What every test may use: a seeded generator and the folder of real data."""

import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest


@pytest.fixture
def rng() -> np.random.Generator:
    """The only source of randomness in tests."""
    return np.random.default_rng(20240101)


@pytest.fixture(scope="session", autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """No test reads or leaves anything in the cache of the user."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DISTCNN_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="session")
def real_data() -> Path:
    """Folder of real data named by DISTCNN_DATA; skips where it is absent."""
    folder = os.environ.get("DISTCNN_DATA")
    if not folder or not Path(folder).is_dir():
        pytest.skip("DISTCNN_DATA names no folder of real data")
    return Path(folder)
