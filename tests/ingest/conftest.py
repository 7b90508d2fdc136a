"""The small archive, fresh for every test."""

from pathlib import Path

import hypothesis
import pytest
from tiny_archive import TinyArchive

# A machine that does other work too is no fault of a reader.
hypothesis.settings.register_profile("readers", deadline=None)
hypothesis.settings.load_profile("readers")


@pytest.fixture
def archive(tmp_path: Path) -> TinyArchive:
    return TinyArchive(tmp_path / "archive")
