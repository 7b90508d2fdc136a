"""From a survey's labelled stars to a package: split, loop, members, calibration."""

from distcnn.survey.split import Split, assign_split
from distcnn.training.data.labelled import seen_stars
from distcnn.training.distillation.distil import DistilSummary, distil_package
from distcnn.training.plan import TrainPlan
from distcnn.training.train import TrainSummary, plan_training, train_package

__all__ = [
    "DistilSummary",
    "Split",
    "TrainPlan",
    "TrainSummary",
    "assign_split",
    "distil_package",
    "plan_training",
    "seen_stars",
    "train_package",
]
