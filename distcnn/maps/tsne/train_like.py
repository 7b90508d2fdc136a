"""Train-like or unlike: how many training stars there are around a star on the map.

That a star is "train-like" by its place on a joint t-SNE map is the rule of Guiglion et al. 2024
(A&A 682, A9), after Ambrosch et al. 2023; how the map becomes a yes or no is not published. Ours:
the distance on the map to the k-th nearest training star, which is small where training stars
are dense, over the distance that nearly all training stars have to each other. Above 1 a star is
unlike. Of each region of the map this asks for its own training stars, however large it is.
"""

import numpy as np
from scipy.spatial import cKDTree

from distcnn.arrays import Array


class TrainLikeness:
    """The rule, fitted to the training stars on the map.

    ``limit`` : distance on the map to the k-th nearest training star that counts as 1.
    """

    def __init__(self, places: Array, neighbours: int, limit: float) -> None:
        self._tree = cKDTree(places)
        self._neighbours = min(neighbours, len(places))
        self.limit = limit

    @classmethod
    def fit(cls, places: Array, neighbours: int, quantile: float) -> "TrainLikeness":
        """From the places [T, 2] of training stars; ``quantile`` of them shall be train-like."""
        rule = cls(places, neighbours, 1.0)
        own = rule.distance(places, itself=True)
        rule.limit = max(float(np.quantile(own, quantile)), 1e-12)
        return rule

    def distance(self, places: Array, *, itself: bool = False) -> Array:
        """Distance to the k-th nearest training star over the limit, [N], of places [N, 2].

        ``itself``: they are training stars of the map, which do not count for themselves.
        """
        if not len(places):
            return np.empty(0)
        count = min(self._neighbours + itself, self._tree.n)
        found = np.asarray(self._tree.query(places, k=[count])[0])
        return np.asarray(found[:, 0] / self.limit)
