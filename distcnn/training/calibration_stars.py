"""Stars that errors are fitted on, and predictions of them by networks that never saw them."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from distcnn.arrays import Array
from distcnn.model import Network, StarInputs
from distcnn.training.data.labelled import Labelled
from distcnn.training.evaluate import predict_labels, without_modalities
from distcnn.training.out_of_fold import CrossFitted, OutOfFold

Predicted = dict[str, Array]
"""``label``, ``noise``, ``scatter`` and the like [N, L], as ``quality.Quality.fit`` takes them."""


@dataclass(frozen=True)
class CalibrationStars:
    """N stars, what is predicted of them, and what with inputs hidden.

    ``hidden`` : by the names of ``quality.MISSING_MODALITIES``.
    """

    stars: Labelled
    predicted: Predicted
    hidden: dict[str, Predicted]

    @classmethod
    def held_out(cls, networks: Sequence[Network], stars: Labelled) -> "CalibrationStars":
        """Stars that none of the networks was trained on."""
        hidden = without_modalities(stars.inputs)
        return cls(
            stars,
            predict_labels(networks, stars.inputs),
            {name: predict_labels(networks, inputs) for name, inputs in hidden.items()},
        )

    @classmethod
    def out_of_fold(
        cls, members: CrossFitted, stars: Labelled, predicted: OutOfFold
    ) -> "CalibrationStars":
        """Stars of folds, each ``predicted`` by the members that hold it out."""
        hidden = {
            name: members.predict(stars.source_id, inputs).for_quality()
            for name, inputs in without_modalities(stars.inputs).items()
        }
        return cls(stars, predicted.for_quality(), hidden)

    @classmethod
    def of_student(
        cls, student: Network, teacher: CrossFitted, stars: Labelled
    ) -> "CalibrationStars":
        """Stars that a student never saw, but some members of its teacher were trained on.

        What the student says differs from what its teacher says; that difference is put on the
        teacher's prediction out of fold, which is what the student would say of a new star.
        """

        def predict(inputs: StarInputs) -> Predicted:
            own = predict_labels([student], inputs)
            seen = predict_labels(teacher.networks, inputs)
            honest = teacher.predict(stars.source_id, inputs).for_quality()
            label = honest["label"] + (own["label"] - seen["label"])
            widths = {
                name: honest[name] * own[name] / np.maximum(seen[name], 1e-30)
                for name in ("noise", "scatter")
            }
            return honest | {"label": label} | widths

        hidden = without_modalities(stars.inputs)
        return cls(
            stars,
            predict(stars.inputs),
            {name: predict(inputs) for name, inputs in hidden.items()},
        )

    def for_quality(self) -> dict[str, Array]:
        """The arrays that ``quality.Quality.fit`` takes."""
        return self.stars.for_quality() | self.predicted
