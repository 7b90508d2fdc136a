"""Which files of an archive folder are read; whatever fits a pattern and is not read is told."""

import os
import re
import stat
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path

from distcnn.config import FilesConfig
from distcnn.errors import ConfigError, InputError

_HIDDEN_FOLDERS = ("__MACOSX", ".*")
_COPIES_OF_EDITORS = ("*~", "#*#", "*.bak", "*.orig", "*.swp")
_UNFINISHED = ("*.tmp", "*.part", "*.partial", "*.crdownload", "*.filepart")
_NAMED = 3
"""Names given in a message; the others are counted."""
_ENDING = re.compile(
    r"(\.(fits?|fts|fz|csv|ecsv|tsv|txt|dat|tbl|mrt|rdb|tab|xml|vot|votable|parquet|pq|h5|hdf5?|he5|nc|zip|"
    r"gz|bz2|xz|zst|zstd)[*?]*)+$",
    re.IGNORECASE,
)


def known_ending(name: str) -> str:
    """The known ending of a name, with that of a packed file: ``.fits.gz``; empty if none is."""
    found = _ENDING.search(name)
    return found[0] if found else ""


def with_small_ending(name: str) -> str:
    """A name, or a pattern of names, whose known endings are in small letters: ``.FITS.GZ``."""
    return _ENDING.sub(lambda found: found[0].lower(), name)


def with_capital_ending(name: str) -> str:
    """A name whose known endings are in capital letters."""
    return _ENDING.sub(lambda found: found[0].upper(), name)


def is_called(name: str, pattern: str) -> bool:
    """Whether a name fits a pattern; ``.FITS`` and other known endings fit in any case."""
    small = with_small_ending(name), with_small_ending(pattern)
    return fnmatchcase(name, pattern) or fnmatchcase(*small)


def is_left_over(name: str) -> bool:
    """Whether a path is hidden, a copy that an editor keeps, or what a download has so far.

    ``.ipynb_checkpoints`` and the ``__MACOSX/._NAME`` of archives made by macOS are among them.
    """
    *folders, last = (part for part in name.split("/") if part not in ("", ".", ".."))
    if any(fnmatchcase(folder, pattern) for folder in folders for pattern in _HIDDEN_FOLDERS):
        return True
    return last.startswith(".") or any(
        fnmatchcase(last, pattern) for pattern in (*_COPIES_OF_EDITORS, *_UNFINISHED)
    )


def listed(names: Sequence[str]) -> str:
    """``a, b, c and 7 more``."""
    shown = ", ".join(names[:_NAMED])
    return f"{shown} and {len(names) - _NAMED} more" if len(names) > _NAMED else shown


@dataclass
class FoundFiles:
    """The files to read, in the order of their names, and a sentence for each thing left out."""

    paths: list[Path]
    left_out: list[str] = field(default_factory=list)


@dataclass
class ArchiveTree:
    """All that lies below a folder; links to folders are followed, each folder once.

    Raises
    ------
    InputError : a folder cannot be read.
    """

    root: Path
    files: list[Path] = field(default_factory=list)
    dangling: list[Path] = field(default_factory=list)
    special: list[Path] = field(default_factory=list)
    sizes: dict[Path, int] = field(default_factory=dict)
    """Bytes of every file. Each is looked at once: on a shared disk that is what costs."""
    identities: dict[Path, object] = field(default_factory=dict)
    """What is the same for all names of one file."""
    links: set[Path] = field(default_factory=set)
    """Files that are links."""

    def __post_init__(self) -> None:
        seen: set[str] = set()
        waiting, links = [self.root], list[Path]()
        # Real folders before links to folders, so that a file has the name that it lies under.
        while waiting or links:
            folder = waiting.pop() if waiting else links.pop(0)
            real = os.path.realpath(folder)  # what a loop of links comes back to
            if real in seen:
                continue
            seen.add(real)
            for path, is_link in self._entries(folder, real):
                (links if is_link else waiting).append(path)

    def _entries(self, folder: Path, real: str) -> Iterator[tuple[Path, bool]]:
        """Folders in a folder, and whether each is a link; its files are noted."""
        for entry in _children(folder):
            path, is_link = folder / entry.name, entry.is_symlink()
            try:
                about = entry.stat()
            except OSError:  # it is not there, leads to itself, or lies beyond our rights
                self.dangling.append(path)
                continue
            if stat.S_ISDIR(about.st_mode):
                yield path, is_link
            elif stat.S_ISREG(about.st_mode):
                self.files.append(path)
                self.sizes[path] = about.st_size
                # Numbers of files are not to be relied on everywhere, so only hard links are
                # told by them.
                hard = (about.st_dev, about.st_ino) if about.st_nlink > 1 else None
                own = os.path.realpath(path) if is_link else f"{real}/{entry.name}"
                self.identities[path] = hard or own
                self.links.update([path] if is_link else [])
            else:
                self.special.append(path)


def _children(folder: Path) -> list["os.DirEntry[str]"]:
    try:
        with os.scandir(folder) as entries:
            return sorted(entries, key=lambda entry: entry.name)
    except OSError as error:
        raise InputError(
            f"the folder {folder} cannot be read ({error.strerror})",
            expected="a folder of archive files",
            cure="Allow reading it, or move it out of the archive folder.",
        ) from None


def find_files(tree: ArchiveTree, files: FilesConfig, *, required: bool = True) -> FoundFiles:
    """Files of an archive folder that the patterns match, in the order of their names.

    Links to files and folders are followed; a file that several names lead to is read once.
    Hidden files, copies of editors and unfinished downloads are left out.

    Raises
    ------
    ConfigError : a pattern is empty or begins outside the archive folder.
    InputError : there is no such file, and one is ``required``, or it is a link that leads nowhere.
    """
    archive = tree.root
    patterns = (files.files,) if isinstance(files.files, str) else files.files
    for pattern in patterns:
        _check_pattern(pattern)
    _refuse_dangling(archive, _matching(archive, tree.dangling, patterns)[0])
    matching, left_over = _matching(archive, tree.files, patterns)
    paths, repeated = _each_once(tree, matching)
    found = FoundFiles(sorted(paths, key=lambda path: (path.name, str(path))))
    special = _matching(archive, tree.special, patterns)[0]
    # A link that no pattern matches may have led to a folder of files.
    folders = [path for path in tree.dangling if not _is_hidden(archive, path)]
    for several, why in (
        (left_over, "hidden, a copy of an editor, or an unfinished download"),
        (repeated, "another name of a file that is read already"),
        (special, "no regular file"),
        (folders, "a link that leads nowhere"),
    ):
        if several:
            names = [path.relative_to(archive).as_posix() for path in several]
            found.left_out.append(f"{len(several)} left out ({why}): {listed(names)}")
    if not paths and required:
        _refuse_nothing(tree, files.reader, patterns, found.left_out)
    return found


def _check_pattern(pattern: str) -> None:
    parts = pattern.split("/")
    if not pattern.strip() or pattern.startswith("/") or ".." in parts:
        raise ConfigError(
            f"files = {pattern!r}",
            expected="a pattern of names below the archive folder, such as '*.fits'",
        )


def _matching(
    archive: Path, paths: Sequence[Path], patterns: Sequence[str]
) -> tuple[list[Path], list[Path]]:
    """Paths that a pattern matches, and those of them that are left over."""
    wanted, left_over = list[Path](), list[Path]()
    for path in paths:
        parts = path.relative_to(archive).parts
        fits = [pattern for pattern in patterns if _fits(parts, pattern.split("/"))]
        if any(pattern.rpartition("/")[2].startswith(".") for pattern in fits):
            wanted.append(path)  # hidden files that are asked for by name
        elif fits:
            (left_over if _is_hidden(archive, path) else wanted).append(path)
    return wanted, left_over


def _is_hidden(archive: Path, path: Path) -> bool:
    return is_left_over(path.relative_to(archive).as_posix())


def _fits(parts: Sequence[str], pattern: Sequence[str]) -> bool:
    """Whether a path ends as the pattern says, as in ``Path.rglob``; ``**`` is any folders."""
    if pattern[-1] == "**":
        ends = range(len(parts) + 1)
        return len(pattern) == 1 or any(_fits(parts[:end], pattern[:-1]) for end in ends)
    if not parts or not is_called(parts[-1], pattern[-1]):
        return False
    return len(pattern) == 1 or _fits(parts[:-1], pattern[:-1])


def _each_once(tree: ArchiveTree, paths: Sequence[Path]) -> tuple[list[Path], list[Path]]:
    """One path for every file, and the further names (links) of files that were named before."""
    seen: set[object] = set()
    once, repeated = list[Path](), list[Path]()
    for path in sorted(paths, key=lambda path: (path in tree.links, path.name, str(path))):
        key = tree.identities[path]
        (repeated if key in seen else once).append(path)
        seen.add(key)
    return once, repeated


def _refuse_dangling(archive: Path, links: Sequence[Path]) -> None:
    if links:
        names = [f"{path.relative_to(archive)} -> {_target(path)}" for path in links]
        raise InputError(
            f"{len(links)} of the links in {archive} lead to files that are not there: "
            f"{listed(names)}",
            expected="links to files",
            cure="Bring the files back (a scratch disk may have been cleared), or remove the "
            "links to go on without them.",
        )


def _target(path: Path) -> str:
    return str(path.readlink()) if path.is_symlink() else "(no right to look at it)"


def _refuse_nothing(
    tree: ArchiveTree, reader: str, patterns: Sequence[str], left_out: Sequence[str]
) -> None:
    told = "".join(f"; {sentence}" for sentence in left_out)
    names = sorted(path.relative_to(tree.root).as_posix() for path in tree.files)
    there = [name for name in names if not is_left_over(name)]
    raise InputError(
        f"no file below {tree.root} is called {' or '.join(patterns)}{told}",
        expected=f"files for the reader {reader}",
        cure=f"There are {listed(there) or 'none at all'}. Correct the folder, or 'files' in the "
        "configuration (null: the survey has none).",
    )
