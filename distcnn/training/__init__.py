"""From a survey's labelled stars to a package: split, loop, members, calibration."""

from distcnn.training.data import seen_stars
from distcnn.training.plan import TrainPlan
from distcnn.training.run import TrainSummary, plan_training, train_package
from distcnn.training.split import Part, assign

__all__ = [
    "Part",
    "TrainPlan",
    "TrainSummary",
    "assign",
    "plan_training",
    "seen_stars",
    "train_package",
]
