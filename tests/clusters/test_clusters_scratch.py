"""Scratch folders: gone at the end; those of dead runs are removed, those of live ones not."""

import tempfile

import pytest

from distcnn.clusters.dask_workers.starting.scratch import PREFIX, remove_abandoned, scratch_folder


@pytest.fixture(autouse=True)
def temporary(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


def test_a_folder_is_gone_with_everything_in_it(temporary):
    with scratch_folder() as folder:
        (folder / "spill").mkdir()
        (folder / "spill" / "data").write_text("x")
    assert list(temporary.iterdir()) == []


def test_the_folder_of_a_living_run_stays(temporary):
    with scratch_folder() as first, scratch_folder() as second:
        assert first != second
        assert remove_abandoned(temporary) == []
        assert first.exists()


def test_the_folder_of_a_dead_run_is_removed(temporary):
    dead = temporary / f"{PREFIX}dead"
    dead.mkdir()
    (dead / "lock").write_text("")
    (dead / "data").write_text("x")
    with scratch_folder() as folder:
        assert list(temporary.iterdir()) == [folder]


def test_a_folder_without_a_lock_is_not_ours_to_judge(temporary):
    (temporary / f"{PREFIX}strange").mkdir()
    assert remove_abandoned(temporary) == []


def test_an_error_inside_leaves_nothing(temporary):
    with pytest.raises(RuntimeError), scratch_folder():
        raise RuntimeError
    assert list(temporary.iterdir()) == []
