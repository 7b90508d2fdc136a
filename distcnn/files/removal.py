"""Removal of folders in which others may still come and go."""

import errno
import shutil
from contextlib import suppress
from pathlib import Path

ROUNDS = 10
"""Times that a folder is listed again because something came or went meanwhile."""


def remove_folder(folder: Path) -> None:
    """Remove a folder and all below it; a folder that is gone already is no error.

    Between the listing of a folder and its removal a note of the run (``monitor.run_note``) may be
    written there by another thread, or its draft be renamed away. ``shutil.rmtree`` ends with an
    error then, or with a file left over; here the folder is listed again.

    Raises
    ------
    OSError : something in it cannot be removed.
    """
    for _ in range(ROUNDS):
        try:
            shutil.rmtree(folder)
        except FileNotFoundError:
            pass
        except OSError as error:
            if error.errno not in {errno.ENOTEMPTY, errno.EEXIST}:  # by system
                raise
        if not folder.exists():
            return
    shutil.rmtree(folder)


def remove_leftovers(folder: Path) -> None:
    """Remove the folder of work that is done, as far as possible: the product stands already."""
    with suppress(OSError):
        remove_folder(folder)
