"""From a survey's labelled stars to a package: split, loop, members, calibration."""

from distcnn.training.data import seen_stars
from distcnn.training.run import TrainSummary, train_package
from distcnn.training.split import Part, assign

__all__ = ["Part", "TrainSummary", "assign", "seen_stars", "train_package"]
