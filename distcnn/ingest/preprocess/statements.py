"""What a file says of itself, compared with what the configuration says of it.

Units are converted, because that loses nothing. A medium or frame on which the configuration is
silent is taken from the file; one on which they differ is refused with both, because one of them
is wrong and nothing but a person knows which. ``ingest.override`` says that it is the file.
"""

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from pathlib import Path

from distcnn.config import GridConfig
from distcnn.errors import GridMismatch

SAME_FRAME = {"heliocentric": "barycentric"}
"""Frames that differ by less than 20 m/s, a thousandth of a pixel."""


@dataclass(frozen=True)
class Statement:
    """A value, and the words of the file that state it: ``CUNIT1 = 'Angstrom'``."""

    value: str
    words: str


@dataclass(frozen=True)
class Statements:
    """What a file states of its spectra; None where it is silent."""

    unit: Statement | None = None
    """Unit of wavelength (VOUnit)."""
    spacing: Statement | None = None
    """If wavelengths are stated as logarithms: ``log10``, ``ln``, or ``log`` of an unnamed base."""
    medium: Statement | None = None
    """``vacuum`` or ``air``."""
    frame: Statement | None = None
    """``stellar rest``, ``barycentric``, ``topocentric`` or ``geocentric``."""
    flux_unit: Statement | None = None
    """Unit of flux, with its scale; the empty unit if fluxes are normalised."""
    error_kind: Statement | None = None
    """``variance`` or ``inverse variance`` where errors are no standard deviations."""
    overridden: tuple[str, ...] = ()
    """Names of ``ingest.override`` of which the file says something."""


SILENT = Statements()

_OVERRIDABLE = {
    "unit": "the unit of its wavelengths",
    "medium": "the medium of its wavelengths",
    "frame": "the frame of its wavelengths",
    "flux_unit": "the unit of its fluxes",
    "error": "kind or unit of its errors",
}


def unneeded_overrides(override: Iterable[str], met: Collection[str]) -> list[str]:
    """A sentence for every name of ``ingest.override`` that is not among those ``met``.

    No error: one configuration may serve archives of which some have such files.
    """
    return [
        f"ingest.override names {name}, which no file needs: none of the spectra states "
        f"{_OVERRIDABLE[name]}"
        for name in override
        if name not in met
    ]


def agreed_grid(
    grid: GridConfig, stated: Statements, path: Path, override: Collection[str] = ()
) -> GridConfig:
    """The grid with the file's medium and frame, where the configuration says nothing of them.

    Raises
    ------
    GridMismatch : file and configuration differ.
    """
    changes = {}
    for name in ("medium", "frame"):
        said: Statement | None = getattr(stated, name)
        configured: str = getattr(grid, name)
        if said is None or name in override or same_frame(said.value, configured):
            continue
        if name in grid.model_fields_set:
            raise GridMismatch(
                f"{path}: its wavelengths are {_in_words(name, said.value)} ({said.words})",
                expected=f"{configured}, as ingest.grid.{name} says",
                cure=_cure(name, said.value),
            )
        changes[name] = said.value
    return grid.model_copy(update=changes)


def check_same(own: GridConfig, first: GridConfig, path: Path, *, converted: bool) -> None:
    """Refuse a file of another medium or frame than the first one.

    ``converted``: all are brought onto a target, which makes one medium of several.

    Raises
    ------
    GridMismatch : they differ.
    """
    for name in ("medium", "frame"):
        if converted and name == "medium":
            continue
        one, other = getattr(own, name), getattr(first, name)
        if not same_frame(one, other):
            cure = "Give ingest.prepare.target, a common grid, which converts the medium."
            if name == "frame":
                cure = "Ingest them as surveys of their own, or shift them to one frame first."
            raise GridMismatch(
                f"{path}: its wavelengths are {_in_words(name, one)}",
                expected=f"{other}, as those of the first file",
                cure=cure,
            )


def same_frame(one: str, other: str) -> bool:
    """Whether two names are of one frame, or of one medium."""
    one, other = (text.strip().lower() for text in (one, other))
    return SAME_FRAME.get(one, one) == SAME_FRAME.get(other, other)


def _in_words(name: str, value: str) -> str:
    return f"in {value}" if name == "medium" else value


def _cure(name: str, value: str) -> str:
    cure = f"Set ingest.grid.{name}: {value}"
    if name == "medium":
        cure += "; with an ingest.prepare.target of another medium wavelengths are converted"
    return f"{cure}. If the file is wrong, set ingest.override: [{name}]."
