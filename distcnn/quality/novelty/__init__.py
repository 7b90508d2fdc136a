"""Novelty: how unlike every training spectrum a spectrum is."""

from distcnn.quality.novelty.blend_patterns import MOST_SPREADS, BlendClassifier, BlendPatterns
from distcnn.quality.novelty.expected_components import (
    OTHER_LIGHT,
    ExpectedComponents,
    Light,
    light_of,
    other_light,
    raw_columns,
    terms_of,
)
from distcnn.quality.novelty.fitting import fit_reference
from distcnn.quality.novelty.reference import LEAST_SPARSENESS, Novelty

__all__ = [
    "LEAST_SPARSENESS",
    "MOST_SPREADS",
    "OTHER_LIGHT",
    "BlendClassifier",
    "BlendPatterns",
    "ExpectedComponents",
    "Light",
    "Novelty",
    "fit_reference",
    "light_of",
    "other_light",
    "raw_columns",
    "terms_of",
]
