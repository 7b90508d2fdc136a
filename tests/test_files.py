"""Atomic writes appear whole or not at all; a lock has one holder, and no child inherits it."""

import errno
import multiprocessing
import os
import pickle
import platform
import subprocess
import sys
from pathlib import Path

import pytest

from distcnn.errors import LockHeld
from distcnn.files import (
    FileLock,
    atomic_folder,
    atomic_write,
    atomic_write_bytes,
    atomic_write_text,
    bytes_below,
    files_below,
    naming,
    relative_name,
    remove_folder,
    remove_leftovers,
    replace_folder,
)


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_a_file_is_replaced_as_a_whole(tmp_path):
    atomic_write_text(tmp_path / "a.txt", "old")
    atomic_write_bytes(tmp_path / "a.txt", "né".encode())
    assert (tmp_path / "a.txt").read_text(encoding="utf-8") == "né"
    assert names(tmp_path) == ["a.txt"]


def test_an_error_while_writing_leaves_the_old_file_and_no_draft(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("old")
    with pytest.raises(ZeroDivisionError), atomic_write(path) as draft:
        1 / draft.write_text("")
    assert path.read_text() == "old"
    assert names(tmp_path) == ["a.txt"]


def test_a_block_that_writes_nothing_is_an_error(tmp_path):
    with pytest.raises(FileNotFoundError), atomic_write(tmp_path / "a.txt"):
        pass
    assert names(tmp_path) == []


def test_the_draft_keeps_the_suffix_that_its_writer_needs(tmp_path):
    with atomic_write(tmp_path / "a.xml", suffix=".xml") as draft:
        assert draft.suffix == ".xml"
        draft.write_text("<a/>")
    assert names(tmp_path) == ["a.xml"]


def test_data_is_forced_to_disk_before_it_gets_its_name(tmp_path, monkeypatch):
    seen = []
    monkeypatch.setattr(os, "fsync", lambda _: seen.append((tmp_path / "a").exists()))
    atomic_write_bytes(tmp_path / "a", b"1")
    assert seen == [False]


def test_a_folder_appears_whole_and_takes_the_place_of_nothing(tmp_path):
    target = tmp_path / "pack[1]"
    with atomic_folder(target) as draft:
        (draft / "inner").mkdir()
        (draft / "inner" / "x").write_text("1")
        assert not target.exists()
    assert (target / "inner" / "x").read_text() == "1"
    with pytest.raises(OSError, match="there already"), atomic_folder(target) as draft:
        (draft / "y").touch()
    assert names(tmp_path) == ["pack[1]"]
    assert names(target) == ["inner"]


def test_drafts_of_killed_processes_are_removed_and_nothing_else(tmp_path):
    (tmp_path / ".pack.0badcafe.partial").mkdir()
    (tmp_path / "pack.partial").mkdir()  # the working folder of a training
    (tmp_path / ".pack.student.partial").mkdir()  # somebody else's
    with atomic_folder(tmp_path / "pack"):
        pass
    assert names(tmp_path) == [".pack.student.partial", "pack", "pack.partial"]


def _replace_and_fail(target):
    with replace_folder(target) as draft:
        (draft / "z").touch()
        raise OSError("the disk is full")


def test_a_folder_is_replaced_whole_or_left_as_it_was(tmp_path):
    target = tmp_path / "pack"
    for name in ("x", "y"):
        with replace_folder(target) as draft:
            (draft / name).touch()
        assert names(target) == [name]
    with pytest.raises(OSError, match="full"):
        _replace_and_fail(target)
    assert names(tmp_path) == ["pack"]
    assert names(target) == ["y"]


def test_a_folder_whose_replacing_was_cut_off_between_the_renames_comes_back(tmp_path):
    target = tmp_path / "pack"
    with replace_folder(target) as draft:
        (draft / "x").touch()
    target.rename(tmp_path / ".pack.old.partial")
    (tmp_path / ".pack.new.partial").mkdir()
    with pytest.raises(OSError, match="full"):
        _replace_and_fail(target)
    assert names(tmp_path) == ["pack"]
    assert names(target) == ["x"]


def test_a_second_holder_is_refused_and_told_who_has_the_lock(tmp_path):
    with FileLock.acquire(tmp_path / "lock"):
        with pytest.raises(LockHeld, match=f"held by process {os.getpid()} on ") as refusal:
            FileLock.acquire(tmp_path / "lock")
        assert str(pickle.loads(pickle.dumps(refusal.value))) == str(refusal.value)
    FileLock.acquire(tmp_path / "lock").release()


def _hold(path, ready, over):
    with FileLock.acquire(path):
        ready.set()
        over.wait()


def test_a_lock_is_free_as_soon_as_its_holder_is_killed(tmp_path):
    context = multiprocessing.get_context("spawn")
    ready, over = context.Event(), context.Event()
    holder = context.Process(target=_hold, args=(tmp_path / "lock", ready, over))
    holder.start()
    assert ready.wait(600)
    with pytest.raises(LockHeld, match=f"process {holder.pid} "):
        FileLock.acquire(tmp_path / "lock")
    holder.kill()
    holder.join()
    FileLock.acquire(tmp_path / "lock").release()


def without_locks(*_):
    raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))


class TestAFileSystemWithoutLocks:
    @pytest.fixture(autouse=True)
    def none(self, monkeypatch):
        monkeypatch.setattr("fcntl.flock", without_locks)

    def test_has_one_holder_at_a_time_too(self, tmp_path):
        first = FileLock.acquire(tmp_path / "lock")
        with pytest.raises(LockHeld, match=r"lock\.claim if it runs no more"):
            FileLock.acquire(tmp_path / "lock")
        first.release()
        FileLock.acquire(tmp_path / "lock").release()
        assert names(tmp_path) == ["lock"]

    def test_takes_over_from_a_process_of_this_machine_that_is_gone(self, tmp_path):
        gone = subprocess.Popen([sys.executable, "-c", ""])
        gone.wait()
        (tmp_path / "lock.claim").write_text(f"process {gone.pid} on {platform.node()}")
        FileLock.acquire(tmp_path / "lock").remove()
        assert names(tmp_path) == []

    def test_believes_another_machine(self, tmp_path):
        (tmp_path / "lock.claim").write_text("process 1 on node3")
        with pytest.raises(LockHeld, match="process 1 on node3"):
            FileLock.acquire(tmp_path / "lock")


def test_another_error_of_a_lock_names_the_file(tmp_path, monkeypatch):
    def refused(*_):
        raise OSError(errno.EIO, "broken")

    monkeypatch.setattr("fcntl.flock", refused)
    with pytest.raises(OSError, match=r"broken: '.*lock'"):
        FileLock.acquire(tmp_path / "lock")


FULL = Path("/dev/full")


@pytest.mark.skipif(not FULL.exists(), reason="this system has no full disk")
def test_a_full_disk_names_the_file_that_is_written(tmp_path):
    with (
        pytest.raises(OSError, match=r"No space left.*: '.*thing'") as met,
        naming(tmp_path / "thing"),
        FULL.open("wb", buffering=0) as stream,
    ):
        stream.write(b"1")
    assert met.value.errno == errno.ENOSPC


def test_two_that_make_one_folder_at_once_are_kept_apart(tmp_path):
    with atomic_folder(tmp_path / "one") as draft:
        with pytest.raises(LockHeld), atomic_folder(tmp_path / "one"):
            pass
        (draft / "a").write_text("1")
    assert (tmp_path / "one" / "a").read_text() == "1"
    assert names(tmp_path) == ["one"]


def test_a_name_of_odd_bytes_becomes_text(tmp_path):
    odd = tmp_path / os.fsdecode(b"caf\xe9")
    assert relative_name(odd, tmp_path) == r"caf\xe9"
    assert relative_name(tmp_path / "ré/a", tmp_path) == "ré/a"


ORPHAN = """
import os, pathlib, sys
from distcnn.files import FileLock
lock = FileLock.acquire(pathlib.Path(sys.argv[1]))
forked, told = os.pipe()
if os.fork():
    os.read(forked, 1)
    os._exit(0)  # as killed: nothing is released
os.write(told, b".")
sys.stdin.read()
"""


def test_a_forked_child_does_not_keep_the_lock_of_a_dead_parent(tmp_path):
    command = [sys.executable, "-c", ORPHAN, str(tmp_path / "lock")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as parent:
        assert parent.wait(600) == 0
        FileLock.acquire(tmp_path / "lock").release()
        parent.stdin.close()
        assert parent.stdout.read() == b""  # ends with the child


def test_a_lock_file_that_its_holder_removed_is_made_again(tmp_path):
    path = tmp_path / "lock"
    first = FileLock.acquire(path)
    path.unlink()
    second = FileLock.acquire(path)
    first.release()
    with pytest.raises(LockHeld):
        FileLock.acquire(path)
    second.release()


def test_all_files_below_a_folder_are_counted(tmp_path):
    (tmp_path / "a" / "b").mkdir(parents=True)
    (tmp_path / "a" / "b" / "x").write_bytes(b"123")
    (tmp_path / "y").write_bytes(b"45")
    (tmp_path / "link").symlink_to(tmp_path / "a", target_is_directory=True)
    assert sorted(entry.name for entry in files_below(tmp_path)) == ["link", "x", "y"]
    assert bytes_below(tmp_path / "a") == 3


def test_a_file_that_vanishes_meanwhile_does_not_end_a_removal(tmp_path, monkeypatch):
    """A draft of a note that another thread renames between listing and removal."""
    folder, unlink = tmp_path / "work", os.unlink
    (folder / "below").mkdir(parents=True)
    for name in ("ledger", "run.json", "below/chunk"):
        (folder / name).write_bytes(b"x")

    def other_thread_was_first(path, *args, **options):
        if Path(path).name == "run.json":
            unlink(path, *args, **options)
        unlink(path, *args, **options)

    monkeypatch.setattr(os, "unlink", other_thread_was_first)
    remove_folder(folder)
    assert not folder.exists()


def test_a_file_that_appears_meanwhile_is_removed_too(tmp_path, monkeypatch):
    folder, rmdir, written = tmp_path / "work", os.rmdir, []
    folder.mkdir()

    def note_comes_first(path, *args, **options):
        if not written:
            (folder / "run.json").write_bytes(b"{}")
            written.append(path)
        rmdir(path, *args, **options)

    monkeypatch.setattr(os, "rmdir", note_comes_first)
    remove_folder(folder)
    assert written
    assert not folder.exists()


def test_what_cannot_be_removed_is_told_unless_it_is_left_over(tmp_path, monkeypatch):
    folder = tmp_path / "work"
    folder.mkdir()

    def refused(path, *args, **options):
        raise PermissionError(errno.EACCES, "Permission denied", path)

    monkeypatch.setattr(os, "rmdir", refused)
    with pytest.raises(PermissionError):
        remove_folder(folder)
    remove_leftovers(folder)
    assert folder.is_dir()


def test_a_folder_that_is_gone_is_removed(tmp_path):
    remove_folder(tmp_path / "none")


def test_a_file_that_vanishes_while_bytes_are_counted_has_none(tmp_path, monkeypatch):
    for name in ("chunk", "draft"):
        (tmp_path / name).write_bytes(b"four")

    def listed_before(folder):
        for entry in list(files_below(folder)):
            (tmp_path / "draft").unlink(missing_ok=True)
            yield entry

    monkeypatch.setattr("distcnn.files.below.files_below", listed_before)
    assert bytes_below(tmp_path) == 4
