"""The map itself: fitted to some stars, and any other star placed on it.

t-SNE (van der Maaten & Hinton 2008, JMLR 9, 2579) by openTSNE (Policar, Strazar & Zupan 2024,
J. Stat. Softw. 109), which places new points among those that stay where they are.
"""

import os
from typing import Any

import numpy as np

from distcnn.arrays import Array
from distcnn.config import TsneMapConfig
from distcnn.errors import MissingExtra

_FFT_STARS = 10_000
"""From that many stars on repulsion is interpolated on a grid; below, a tree is faster."""
FIRST_EPOCHS, EPOCHS = 250, 500
"""Steps of the optimisation: with exaggerated attraction, and then without."""
PLACING_EPOCHS, PLACING_PERPLEXITY = 50, 5
"""As few neighbours as the library advises for new points: they have to find one place, not to
keep each other apart."""


def threads(stars: int = _FFT_STARS) -> int:
    """Threads for that many stars: the cores that this process may use, one for few stars.

    Threads of the library wait for each other by spinning; where they have little to do they take
    ten times the processor time of a single one.
    """
    if stars < _FFT_STARS:
        return 1
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def require_open_tsne() -> Any:
    """The library.

    Raises
    ------
    MissingExtra : it is not installed.
    """
    try:
        import openTSNE
    except ImportError:
        raise MissingExtra.of("Maps of spectra", "openTSNE", "maps") from None
    return openTSNE


class FittedMap:
    """Stars on the map, and how others find their place among them.

    ``features`` [N, k] and ``places`` [N, 2] say everything; the search tree is made anew.
    """

    def __init__(self, features: Array, places: Array, config: TsneMapConfig) -> None:
        self.features, self.places = features, places
        self._embedding = _embedding(places, features, config)

    @classmethod
    def fit(cls, features: Array, config: TsneMapConfig) -> "FittedMap":
        """Fit a map to features [N, k]; the same every time with the same number of threads."""
        tsne = require_open_tsne()
        start = tsne.initialization.pca(features, random_state=config.seed)
        embedding = _embedding(start, features, config)
        rate = len(features) / 12
        embedding = embedding.optimize(
            FIRST_EPOCHS, exaggeration=12, momentum=0.5, learning_rate=rate
        )
        embedding = embedding.optimize(EPOCHS, momentum=0.8, learning_rate=len(features))
        return cls(features, np.asarray(embedding, np.float64), config)

    def place(self, features: Array) -> Array:
        """Places [N, 2] of other stars by their features [N, k]."""
        if not len(features):
            return np.empty((0, 2))
        placed = self._embedding.prepare_partial(features, perplexity=PLACING_PERPLEXITY)
        placed = placed.optimize(PLACING_EPOCHS, learning_rate=0.1, exaggeration=1.5, momentum=0.8)
        return np.asarray(placed, np.float64)


def _embedding(places: Array, features: Array, config: TsneMapConfig) -> Any:
    tsne = require_open_tsne()
    perplexity = min(config.perplexity, max(2.0, (len(features) - 1) / 3))
    affinities = tsne.affinity.PerplexityBasedNN(
        features,
        perplexity=perplexity,
        method="annoy",
        n_jobs=threads(len(features)),
        random_state=config.seed,
    )
    return tsne.TSNEEmbedding(
        places,
        affinities,
        n_jobs=threads(len(features)),
        random_state=config.seed,
        negative_gradient_method="fft" if len(features) >= _FFT_STARS else "bh",
    )
