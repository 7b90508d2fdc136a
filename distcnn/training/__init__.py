"""From a survey's labelled stars to a package: split, loop, members, calibration."""

from distcnn.survey.split import Part, assign
from distcnn.training.data.labelled import seen_stars
from distcnn.training.distillation.distil import DistilSummary, distil_package
from distcnn.training.plan import TrainPlan
from distcnn.training.train import TrainSummary, plan_training, train_package

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
