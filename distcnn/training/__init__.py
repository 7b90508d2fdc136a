"""From a survey's labelled stars to a package: split, loop, members, calibration."""

from distcnn.training.data import seen_stars
from distcnn.training.distil import DistilSummary, distil_package
from distcnn.training.plan import TrainPlan
from distcnn.training.run import TrainSummary, plan_training, train_package
from distcnn.training.split import Part, assign

__all__ = [
    "DistilSummary",
    "Part",
    "TrainPlan",
    "TrainSummary",
    "assign",
    "distil_package",
    "plan_training",
    "seen_stars",
    "train_package",
]
