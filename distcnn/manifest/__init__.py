"""Manifest: what a package says of itself, typed, and readable without torch."""

from distcnn.manifest.manifest import Manifest
from distcnn.manifest.reading import MANIFEST, no_package, read_file, read_manifest
from distcnn.manifest.sections import StackingSection, SurveySection, TableRow

__all__ = [
    "MANIFEST",
    "Manifest",
    "StackingSection",
    "SurveySection",
    "TableRow",
    "no_package",
    "read_file",
    "read_manifest",
]
