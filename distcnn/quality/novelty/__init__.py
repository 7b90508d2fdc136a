"""Novelty: how unlike every training spectrum a spectrum is."""

from distcnn.quality.novelty.blend_patterns import MOST_SPREADS, BlendClassifier, BlendPatterns
from distcnn.quality.novelty.reference import LEAST_SPARSENESS, Novelty

__all__ = ["LEAST_SPARSENESS", "MOST_SPREADS", "BlendClassifier", "BlendPatterns", "Novelty"]
