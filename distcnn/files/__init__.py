"""Files: written whole or not at all, locked against a second writer, counted below a folder."""

from distcnn.files.below import bytes_below, files_below
from distcnn.files.locks import (
    FOLDER_LOCK,
    FileLock,
    Lock,
    empty_folder,
    is_gone,
    locked_folder,
    this_holder,
)
from distcnn.files.names import DRAFT_SUFFIX, naming, printable, relative_name
from distcnn.files.removal import remove_folder, remove_leftovers
from distcnn.files.whole import (
    atomic_folder,
    atomic_write,
    atomic_write_bytes,
    atomic_write_text,
    replace_folder,
)

__all__ = [
    "DRAFT_SUFFIX",
    "FOLDER_LOCK",
    "FileLock",
    "Lock",
    "atomic_folder",
    "atomic_write",
    "atomic_write_bytes",
    "atomic_write_text",
    "bytes_below",
    "empty_folder",
    "files_below",
    "is_gone",
    "locked_folder",
    "naming",
    "printable",
    "relative_name",
    "remove_folder",
    "remove_leftovers",
    "replace_folder",
    "this_holder",
]
