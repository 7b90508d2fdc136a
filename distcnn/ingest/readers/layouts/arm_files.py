"""Which files hold the arms of one star, by their names or by the star that they name."""

import re
from pathlib import Path, PurePosixPath

from distcnn.config import FilesConfig, SpectrumLayoutConfig
from distcnn.config.survey.spectrum_layout import ARM, STAR, Place
from distcnn.errors import FileBroken, InputError
from distcnn.ingest.readers.formats.containers import TableSource, table_sources
from distcnn.ingest.readers.layouts.spectrum_file import opened
from distcnn.ingest.readers.layouts.star_values import StarValues, first_that_is_there
from distcnn.ingest.selection import (
    is_called,
    is_left_over,
    with_capital_ending,
    with_small_ending,
)


class FilesOfArms:
    """Finds the files of a star from one of them; the first is the one that stands for it."""

    def __init__(self, files: FilesConfig, layout: SpectrumLayoutConfig) -> None:
        self.files, self.layout = files, layout
        self._folder: tuple[tuple[str, int], dict[Path, tuple[Path, ...]]] | None = None

    def of(self, source: TableSource) -> dict[Place | None, TableSource]:
        """Arm -> its file, of those that there are; the file under None if arms are within it.

        Raises
        ------
        InputError : the file's name does not fit ``arm_files``, or it is a member of an archive.
        """
        if not (self.layout.arm_files or self.layout.join_files):
            return {None: source}
        if source.is_member:
            raise InputError(
                f"{source.name}: arms in files of their own cannot be members of a zip archive",
                cure="Unpack it, and ingest the files.",
            )
        if self.layout.join_files:
            paths = self._groups(source.path.parent).get(source.path, (source.path,))
            return {path.name: next(table_sources(path, files=self.files)) for path in paths}
        return self._by_name(source)

    def _by_name(self, source: TableSource) -> dict[Place | None, TableSource]:
        star, packed = _star_of(source, self.layout)
        found: dict[Place | None, TableSource] = {}
        for arm in self.layout.arms:
            name = self.layout.arm_files.replace(STAR, star).replace(ARM, str(arm))
            endings = dict.fromkeys((packed, "", ".gz"))
            names = [f"{name}{ending}" for ending in endings]
            either = [*names, *map(with_capital_ending, names)]
            paths = (source.path.with_name(one) for one in either)
            path = next((path for path in paths if path.exists()), None)
            if path is not None:
                found[arm] = next(table_sources(path, files=self.files))
        return found

    def _groups(self, folder: Path) -> dict[Path, tuple[Path, ...]]:
        """All files of a folder, each with those of its star."""
        key = str(folder), folder.stat().st_mtime_ns
        if self._folder is None or self._folder[0] != key:
            stars: dict[str, list[Path]] = {}
            for path in sorted(filter(self._is_meant, folder.iterdir())):
                stars.setdefault(self._star_in(path), []).append(path)
            groups = {path: tuple(paths) for paths in stars.values() for path in paths}
            self._folder = key, groups
        return self._folder[1]

    def _is_meant(self, path: Path) -> bool:
        patterns = (self.files.files,) if isinstance(self.files.files, str) else self.files.files
        fits = any(is_called(path.name, PurePosixPath(pattern).name) for pattern in patterns)
        return fits and path.is_file() and not is_left_over(path.name)

    def _star_in(self, path: Path) -> str:
        """The star that a file names; its own path if it cannot be read, which is told later."""
        try:
            with opened(next(table_sources(path, files=self.files))) as file:
                values = StarValues(file, None, 1)
                place = first_that_is_there(values, self.layout.id)
                return f"star {values.read(place, 0, 1)[0]}"
        except (FileBroken, InputError):
            return str(path)


def _star_of(source: TableSource, layout: SpectrumLayoutConfig) -> tuple[str, str]:
    """What stands for ``{star}`` in a file's name, and the ending of one that is packed."""
    arms = "|".join(re.escape(str(arm)) for arm in layout.arms)
    pattern = re.escape(layout.arm_files).replace(re.escape(STAR), "(?P<star>.+)", 1)
    pattern = pattern.replace(re.escape(ARM), f"(?:{arms})")
    pattern += r"(?P<packed>\.\w+)?"
    found = re.fullmatch(pattern, source.path.name) or re.fullmatch(
        pattern, with_small_ending(source.path.name)
    )
    if found is None:
        raise InputError(
            f"{source.name}: its name does not fit arm_files, {layout.arm_files!r}",
            expected=f"an arm of {', '.join(map(str, layout.arms))} where {ARM} stands",
            cure="Correct ingest.spectra.files, or arm_files of ingest.spectra.layout.",
        )
    return found["star"], found["packed"] or ""
