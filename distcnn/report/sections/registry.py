"""The sections of the page: one row each, in the order in which they are shown.

A new section is one function in the file of its subject and one row here.
"""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from distcnn.report.blocks import Block, Picture
from distcnn.report.choice import choose_rows
from distcnn.report.data import ReportData
from distcnn.report.sections.accuracy import accuracy, attenuation, ensemble, errors
from distcnn.report.sections.found import checks, galaxy, rivals, tsne
from distcnn.report.sections.inputs import completeness, inputs, spectra, stars
from distcnn.report.sections.origin import cite, provenance, speed
from distcnn.report.sections.overview import flags, summary, trust

Build: TypeAlias = Callable[[ReportData, Sequence[Picture]], Sequence[Block]]
"""What makes the blocks of a section; its figures are drawn already."""


@dataclass(frozen=True)
class Section:
    """A part of the page: its anchor, its heading, its name in the navigation, its blocks."""

    key: str
    title: str
    short: str
    build: Build


SECTIONS = (
    Section("summary", "Summary", "Summary", summary),
    Section("trust", "Where not to trust", "Trust", trust),
    Section("data", "Data, package and split", "Data", inputs),
    Section("completeness", "Completeness", "Completeness", completeness),
    Section("stars", "Stars", "Stars", stars),
    Section("accuracy", "Accuracy", "Accuracy", accuracy),
    Section("rivals", "Other methods on the same stars", "Rivals", rivals),
    Section("errors", "Quoted errors", "Errors", errors),
    Section("attenuation", "Attenuation", "Attenuation", attenuation),
    Section("ensemble", "Ensemble size", "Ensemble", ensemble),
    Section("flags", "Limits, novelty and flags", "Flags", flags),
    Section("checks", "Science checks", "Checks", checks),
    Section("tsne", "Map of the spectra", "Spectra map", tsne),
    Section("galaxy", "Map of the Galaxy", "Galaxy map", galaxy),
    Section("spectra", "Example spectra", "Spectra", spectra),
    Section("run", "How fast", "Speed", speed),
    Section("provenance", "Provenance, and how to repeat it", "Provenance", provenance),
    Section("cite", "How to cite", "Cite", cite),
)


def choose_sections(keys: Collection[str] | None) -> tuple[Section, ...]:
    """The sections with these keys, all of them for None, in the order of the page.

    Raises
    ------
    ConfigError : a key names no section.
    """
    return choose_rows(SECTIONS, keys, "report.sections")
