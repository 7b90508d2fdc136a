"""Making: which copies of every star the settings ask for."""

from collections.abc import Callable

from distcnn.config import AugmentConfig
from distcnn.model import InputSpec
from distcnn.survey import Store
from distcnn.training.data.copies.faint_copies import FaintCopies
from distcnn.training.data.copies.reddened import Reddening
from distcnn.training.data.labelled import Labelled

TRAINING_SEED = 104729
"""Of faint copies that networks and regressions learn from; errors are fitted on others."""


def copies_of(
    store: Store, spec: InputSpec, config: AugmentConfig, stars: Labelled
) -> Callable[[Labelled], Labelled] | None:
    """Makes faint copies behind the dust of the longer way, or copies behind any dust.

    ``stars`` : some thousands, as ``FaintCopies.of`` wants them. None = the settings ask for none.
    """
    if config.dust_layer:
        return FaintCopies.of(store, spec, config, stars, TRAINING_SEED)
    return Reddening.of(store, spec, config)
