"""One spectrum per file: grouped into tasks, stamped by the workers, joined with their own rows."""

from collections import Counter

import numpy as np
import pytest
from moving_stars import STARS, VELOCITY_KM_S, settings, spectrum, write_one_row_files
from tiny_archive import settings as tiny_settings

from distcnn import hashing
from distcnn.errors import FingerprintMismatch
from distcnn.executor import SerialExecutor
from distcnn.ingest import build_survey
from distcnn.ingest.assembly import stamping
from distcnn.ingest.matching import content_hash
from distcnn.ingest.plan import part_task, plan_ingest
from distcnn.survey import Store


class Recording(SerialExecutor):
    """Runs tasks here, counts them by function, and does something after each."""

    def __init__(self, after=lambda task: None):
        super().__init__()
        self.tasks, self.after = Counter(), after

    def __call__(self, function, tasks):
        def noted():
            for task in tasks:
                self.tasks[function.__name__] += 1
                yield task

        for result in super().__call__(function, noted()):
            self.after(result.task)
            yield result


@pytest.fixture
def folder(tmp_path):
    flux = [spectrum(1.0) for _ in VELOCITY_KM_S]
    return write_one_row_files(tmp_path / "a", flux, RA=10.0, PLX=1.0)


def one_per_file(**changes):
    columns = {"source_id": "star"}
    return settings(spectra__columns=columns, prepare={}, **changes)


def test_small_files_share_tasks_of_a_limited_number(folder, tmp_path, monkeypatch):
    monkeypatch.setattr(part_task, "MAX_SHARED_PART_FILES", 5)
    executor = Recording()
    summary = build_survey(folder, tmp_path / "s.zarr", one_per_file(), executor=executor)
    assert summary.stars == STARS
    assert executor.tasks == {"make_part": 3, "fill_shard": 2}


def test_the_driver_opens_no_file_but_the_first(folder, tmp_path):
    planned = plan_ingest(folder, tmp_path / "s.zarr", one_per_file(), lambda event: None)
    assert planned.content_hashes == {}
    assert len(planned.paths) == STARS
    assert len(planned.part_tasks(None)) == 1


def test_files_are_stamped_by_parts_and_again_only_if_the_survey_is_there(
    folder, tmp_path, monkeypatch
):
    monkeypatch.setattr(stamping, "FILES_OF_A_TASK", 5)
    monkeypatch.setattr(stamping, "FEW_FILES", 4)
    build_survey(folder, tmp_path / "s.zarr", one_per_file(), executor=SerialExecutor())
    expected = {path.name: content_hash(path) for path in folder.iterdir()}
    assert Store.open(tmp_path / "s.zarr").attrs["inputs"] == hashing.of_value(expected)
    again = Recording()
    build_survey(folder, tmp_path / "s.zarr", one_per_file(), executor=again)
    assert again.tasks == {"stamp_files": 3}
    changed = folder / "spectra003.fits"
    changed.write_bytes(changed.read_bytes() + bytes(2880))
    with pytest.raises(FingerprintMismatch, match="inputs"):
        build_survey(folder, tmp_path / "s.zarr", one_per_file(), executor=Recording())


def test_a_file_that_changes_between_two_parts_that_read_it_is_named(archive, survey_path):
    folder = archive.write()
    source = folder / archive.name("GaiaSource")
    shared = folder / "stars.csv.gz"
    source.rename(shared)

    def after(task):
        if hasattr(task, "files") and task.source:
            shared.write_bytes(shared.read_bytes() + b"\0")

    config = tiny_settings(
        source={"reader": "gaia_source", "files": "stars.csv.gz"}, source_required=False
    )
    with pytest.raises(FingerprintMismatch, match=r"stars\.csv\.gz has changed"):
        build_survey(folder, survey_path, config, executor=Recording(after))


@pytest.fixture
def survey_path(tmp_path):
    return tmp_path / "s.zarr"


def test_files_that_give_spectra_and_sources_are_read_by_their_own_part(
    folder, tmp_path, monkeypatch
):
    monkeypatch.setattr(part_task, "MAX_SHARED_PART_FILES", 5)
    source = {
        "reader": "table",
        "files": "spectra*",
        "columns": {"source_id": "star", "ra": "RA", "parallax": "PLX"},
    }
    config = one_per_file(source=source, bands=())
    planned = plan_ingest(folder, tmp_path / "s.zarr", config, lambda event: None)
    for task in planned.part_tasks(None):
        assert task.source == task.files
    build_survey(folder, tmp_path / "s.zarr", config, executor=SerialExecutor())
    store = Store.open(tmp_path / "s.zarr")
    parallax = np.concatenate([store.read(r, ["parallax"])["parallax"] for r in store.regions()])
    np.testing.assert_array_equal(parallax, np.ones(STARS))
