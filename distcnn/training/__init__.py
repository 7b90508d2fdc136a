"""From a survey's labelled stars to a package.

``train`` is the stage: ``plan`` decides who trains what, ``loop``, ``ddp`` or ``vmap`` trains the
members on ``data``, ``finalise`` selects and calibrates them and writes the package, ``evaluate``
puts numbers to it. ``distillation`` makes a small package of a large one, ``tuning`` tries other
settings, ``imported`` takes networks trained elsewhere, and ``partial`` is the folder in which
all of it can be stopped and goes on.
"""

from distcnn.survey.split import Split, assign_split
from distcnn.training.data.labelled import seen_stars
from distcnn.training.distillation.distil import DistilSummary, distil_package
from distcnn.training.imported import ImportSummary, import_package
from distcnn.training.partial import discard_unfinished
from distcnn.training.plan import TrainPlan
from distcnn.training.train import TrainSummary, plan_training, train_package

__all__ = [
    "DistilSummary",
    "ImportSummary",
    "Split",
    "TrainPlan",
    "TrainSummary",
    "assign_split",
    "discard_unfinished",
    "distil_package",
    "import_package",
    "plan_training",
    "seen_stars",
    "train_package",
]
