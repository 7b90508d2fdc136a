"""The small archive, fresh for every test."""

from pathlib import Path

import pytest
from tiny_archive import TinyArchive


@pytest.fixture
def archive(tmp_path: Path) -> TinyArchive:
    return TinyArchive(tmp_path / "archive")
