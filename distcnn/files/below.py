"""What lies below a folder, however many files it has."""

import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path


def files_below(folder: Path | str) -> Iterator["os.DirEntry[str]"]:
    """Every file below a folder, in no order; links to folders are not followed.

    A folder below it that vanishes meanwhile has none. A prediction store of a million regions has
    twenty million files, many of them in one folder; ``rglob`` would hold the list of a folder in
    memory.
    """
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                with suppress(FileNotFoundError):
                    yield from files_below(entry.path)
            else:
                yield entry


def bytes_below(folder: Path) -> int:
    """Bytes of all files below a folder, without those that vanish meanwhile."""
    total = 0
    for entry in files_below(folder):
        with suppress(FileNotFoundError):
            total += entry.stat().st_size if entry.is_file() else 0
    return total
