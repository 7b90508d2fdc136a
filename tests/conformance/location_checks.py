"""What every kind of place has to do: a class with ``empty_folder`` gets these tests."""

import pickle

import pytest

from distcnn.errors import LockHeld
from distcnn.location import Location


def own_place(bucket, request):
    """A place of a test in an object store, by a bucket's address, as a fixture yields it."""
    place = Location.parse(f"{bucket}/{request.node.name}")
    yield place
    place.remove()


class LocationChecks:
    """Subclass it and give the fixture ``folder``: an empty folder, as a ``Location``.

    ``leaves_drafts``: whether a writer that is killed leaves part of a file there.
    """

    leaves_drafts = True

    @pytest.fixture
    def folder(self, tmp_path):
        raise NotImplementedError

    def test_bytes_come_back_as_they_were_written(self, folder):
        file = folder / "a.bin"
        for data in (b"\0old and longer", b"new"):
            file.write_bytes(data)
            assert file.read_bytes() == data
        assert file.size() == 3
        assert [child.name for child in folder.children()] == ["a.bin"]

    def test_what_is_not_there_is_empty_and_cannot_be_read(self, folder):
        file = folder / "nothing"
        assert not file.exists()
        assert not file.is_folder()
        assert file.size() == 0
        assert list(file.children()) == []
        with pytest.raises(OSError, match="nothing"):
            file.read_bytes()

    def test_a_folder_appears_whole(self, folder):
        made = folder / "store"
        with made.new_folder() as draft:
            (draft / "zarr.json").write_bytes(b"{}")
            (draft / "inner/x").write_bytes(b"123")
            assert not made.exists()
        assert made.is_folder()
        assert (made / "inner/x").read_bytes() == b"123"
        assert made.size() == 5
        assert {child.name for child in made.children()} == {"zarr.json", "inner"}

    def test_a_folder_that_fails_while_it_is_filled_leaves_nothing(self, folder):
        with pytest.raises(ZeroDivisionError), (folder / "store").new_folder() as draft:
            1 / len(list(draft.children()))
        assert list(folder.children()) == []

    def test_a_new_folder_takes_the_place_of_nothing(self, folder):
        made = folder / "store"
        with made.new_folder() as draft:
            (draft / "x").write_bytes(b"1")
        with pytest.raises(OSError, match="store"), made.new_folder() as draft:
            (draft / "y").write_bytes(b"2")
        assert [child.name for child in made.children()] == ["x"]

    def test_a_folder_moves_to_where_nothing_is(self, folder):
        (folder / "a/x").write_bytes(b"1")
        (folder / "b/y").write_bytes(b"2")
        with pytest.raises(OSError, match="b"):
            (folder / "a").move_to(folder / "b")
        (folder / "a").move_to(folder / "c")
        assert {child.name for child in folder.children()} == {"b", "c"}
        assert (folder / "c/x").read_bytes() == b"1"

    def test_an_address_names_the_same_place_again(self, folder):
        (folder / "a").write_bytes(b"1")
        assert Location.parse((folder / "a").address).read_bytes() == b"1"

    def test_removing_takes_everything_below_and_may_be_repeated(self, folder):
        with (folder / "store").new_folder() as draft:
            (draft / "x").write_bytes(b"1")
        (folder / "kept").write_bytes(b"2")
        for name in ("store", "store", "nothing"):
            (folder / name).remove()
        assert [child.name for child in folder.children()] == ["kept"]
        (folder / "kept").remove()
        assert list(folder.children()) == []

    def test_drafts_of_killed_writers_are_removed_and_nothing_else(self, folder):
        if not self.leaves_drafts:
            pytest.skip("writers leave no drafts here")
        (folder / "inner/x").write_bytes(b"1")
        (folder / "inner/.x.0123abcd.partial").write_bytes(b"torn")
        folder.remove_drafts()
        assert [child.name for child in (folder / "inner").children()] == ["x"]

    def test_there_is_room_even_where_no_folder_is_yet(self, folder):
        assert (folder / "not/yet").free_bytes() > 0

    def test_a_lock_has_one_holder(self, folder):
        with (folder / "lock").lock(), pytest.raises(LockHeld):
            (folder / "lock").lock()
        with (folder / "lock").lock():
            pass

    def test_a_shared_lock_has_many_holders_and_no_other(self, folder):
        shared = [(folder / "lock").lock(shared=True) for _ in range(2)]
        with pytest.raises(LockHeld):
            (folder / "lock").lock()
        for lock in shared:
            lock.release()
        with (folder / "lock").lock(), pytest.raises(LockHeld):
            (folder / "lock").lock(shared=True)

    def test_a_file_written_on_this_machine_appears_whole_or_not_at_all(self, folder):
        with (folder / "a/b.xml").new_file(suffix=".xml") as path:
            assert path.name.endswith(".xml")
            path.write_bytes(b"12")
            assert not (folder / "a/b.xml").exists()
        with pytest.raises(ZeroDivisionError), (folder / "a/b.xml").new_file() as path:
            1 / path.write_bytes(b"")
        assert (folder / "a/b.xml").read_bytes() == b"12"
        assert [child.name for child in (folder / "a").children()] == ["b.xml"]

    def test_a_folder_written_on_this_machine_takes_the_place_of_the_old_one(self, folder):
        for name in ("old", "new"):
            with (folder / "f").replace_folder() as path:
                (path / "below").mkdir()
                (path / "below" / name).write_bytes(name.encode())
        assert [child.name for child in (folder / "f/below").children()] == ["new"]

    def test_files_and_folders_can_be_read_as_paths(self, folder):
        (folder / "f/a").write_bytes(b"1")
        (folder / "f/b/c").write_bytes(b"2")
        with (folder / "f/a").local_copy() as path:
            assert path.read_bytes() == b"1"
        with (folder / "f").local_copy() as path:
            assert (path / "b" / "c").read_bytes() == b"2"
        with pytest.raises(OSError, match="nothing"), (folder / "nothing").local_copy() as path:
            path.read_bytes()

    def test_products_that_are_moved_together_find_each_other(self, folder):
        store, package = folder / "runs/a.zarr", folder / "packages/b"
        address = package.relative_to(store)
        moved = (folder / "elsewhere/runs/a.zarr").resolve(address)
        assert moved == folder.resolve("elsewhere/packages/b")

    def test_a_location_is_a_value(self, folder):
        place = folder / "a" / "b"
        assert place == folder / "a/b" == pickle.loads(pickle.dumps(place))
        assert len({place, folder / "a/b"}) == 1
        assert place.parent == folder / "a"
        assert place.name == "b"
        assert Location.parse(place) is place
        assert Location.parse(str(place)) == place
