"""Everything is made once; tests get copies."""

import shutil

import pytest

from tests.inference.small import go, make_package, make_survey


@pytest.fixture(scope="session")
def made(tmp_path_factory):
    """Folder with ``survey.zarr``, ``package`` and the undisturbed ``predictions.zarr``."""
    folder = tmp_path_factory.mktemp("made")
    make_package(folder / "package", make_survey(folder / "survey.zarr"))
    go(folder)
    return folder


@pytest.fixture
def inputs(made, tmp_path):
    """A copy of ``made`` without predictions."""
    for name in ("survey.zarr", "package"):
        shutil.copytree(made / name, tmp_path / name)
    return tmp_path


@pytest.fixture
def done(made, tmp_path):
    """A copy of ``made`` with predictions."""
    for name in ("survey.zarr", "package", "predictions.zarr"):
        shutil.copytree(made / name, tmp_path / name)
    return tmp_path
