"""Evaluation: how good the predictions are, as numbers; no torch, and nothing that draws."""

from distcnn.evaluation.baseline_table import BaselineLabels
from distcnn.evaluation.data import EvaluationData, find_products, find_truth
from distcnn.evaluation.evaluate import evaluate
from distcnn.evaluation.records import Evaluation
from distcnn.evaluation.sample import Sample

__all__ = [
    "BaselineLabels",
    "Evaluation",
    "EvaluationData",
    "Sample",
    "evaluate",
    "find_products",
    "find_truth",
]
