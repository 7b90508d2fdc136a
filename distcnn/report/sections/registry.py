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
    """A part of the page: its anchor, its heading, its name in the navigation, its blocks.

    ``lead`` : what is seen in it, in one plain sentence.
    """

    key: str
    title: str
    short: str
    build: Build
    lead: str


SECTIONS = (
    Section(
        "summary",
        "Summary",
        "Summary",
        summary,
        "How many stars were computed, and how good every label is.",
    ),
    Section(
        "trust",
        "Where not to trust",
        "Trust",
        trust,
        "What did not pass, where a label or its error is off, and which stars to leave out.",
    ),
    Section(
        "data",
        "Data, package and split",
        "Data",
        inputs,
        "What was labelled, by which package, and which stars the package learned from.",
    ),
    Section(
        "completeness",
        "Completeness",
        "Completeness",
        completeness,
        "How many stars have labels, how many of these carry no flag, and which have none.",
    ),
    Section(
        "stars",
        "Stars",
        "Stars",
        stars,
        "The labels themselves: what kinds of stars there are, and how many.",
    ),
    Section(
        "accuracy",
        "Accuracy",
        "Accuracy",
        accuracy,
        "How far labels are from known ones, of stars that the package never saw.",
    ),
    Section(
        "rivals",
        "Other methods on the same stars",
        "Rivals",
        rivals,
        "What other methods make of the same stars, fitted to the same labels as the package.",
    ),
    Section(
        "errors",
        "Quoted errors",
        "Errors",
        errors,
        "Whether known labels lie within the quoted errors as often as they should.",
    ),
    Section(
        "attenuation",
        "Attenuation",
        "Attenuation",
        attenuation,
        "How much labels of unusual stars are drawn towards those of usual ones.",
    ),
    Section(
        "ensemble",
        "Ensemble size",
        "Ensemble",
        ensemble,
        "What every further network of the ensemble brings.",
    ),
    Section(
        "flags",
        "Limits, novelty and flags",
        "Flags",
        flags,
        "What each flag warns of, how many stars carry it, and for how many each label is "
        "recommended.",
    ),
    Section(
        "checks",
        "Science checks",
        "Checks",
        checks,
        "Questions that a referee would ask, each with its verdict, its figure and its numbers.",
    ),
    Section(
        "tsne",
        "Map of the spectra",
        "Spectra map",
        tsne,
        "Stars whose spectra are alike lie together; where there are no training stars, labels "
        "are guesses.",
    ),
    Section(
        "galaxy",
        "Map of the Galaxy",
        "Galaxy map",
        galaxy,
        "Where the stars are in the Milky Way, and how metallicity and [α/M] change with place.",
    ),
    Section(
        "spectra",
        "Example spectra",
        "Spectra",
        spectra,
        "Spectra as the package read them, usual and unusual ones.",
    ),
    Section(
        "run",
        "How fast",
        "Speed",
        speed,
        "How long the computation took, and what took the time.",
    ),
    Section(
        "provenance",
        "Provenance, and how to repeat it",
        "Provenance",
        provenance,
        "What these labels were made from, and the commands that make them again.",
    ),
    Section(
        "cite",
        "How to cite",
        "Cite",
        cite,
        "What to name in a paper that uses these labels.",
    ),
)


def choose_sections(keys: Collection[str] | None) -> tuple[Section, ...]:
    """The sections with these keys, all of them for None, in the order of the page.

    Raises
    ------
    ConfigError : a key names no section.
    """
    return choose_rows(SECTIONS, keys, "report.sections")
