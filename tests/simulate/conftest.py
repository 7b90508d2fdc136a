"""A small simulated archive in which every kind of defect occurs, written once."""

from pathlib import Path

import pytest
from archive_tables import CONFIG, SEED, STARS

from distcnn.executor import SerialExecutor
from distcnn.simulate import write_archive


@pytest.fixture(scope="session")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """400 stars in three files."""
    folder = tmp_path_factory.mktemp("simulated") / "archive"
    write_archive(folder, STARS, SEED, CONFIG, executor=SerialExecutor())
    return folder
