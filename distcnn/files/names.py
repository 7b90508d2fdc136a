"""Names of files: of drafts, in errors of the disk, and as text that can be stored."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

DRAFT_SUFFIX = ".partial"
"""End of the names of drafts; what carries it belongs to a writer that lives or was killed."""


@contextmanager
def naming(path: Path | str) -> Iterator[None]:
    """Give an error of the disk the path that it is about: a full one is met by ``write``,
    which knows no names.
    """
    try:
        yield
    except OSError as error:
        if error.errno is None or error.filename is not None:
            raise
        raise OSError(error.errno, error.strerror, str(path)) from error


def relative_name(path: Path, folder: Path) -> str:
    """A file's name below a folder, as text that can be stored; see ``printable``."""
    return printable(path.relative_to(folder).as_posix())


def printable(name: str) -> str:
    r"""The name of a file as text that can be stored and shown: ``caf\xe9.csv``.

    Names are bytes; those of old disks are often no UTF-8, and Python keeps such bytes as
    characters that no file, table or terminal takes.
    """
    return os.fsencode(name).decode("utf-8", "backslashreplace")
