"""Prediction store: begun, or found again; what it was made from, and who may write to it.

The store exists whole before the first star is computed. Its fingerprint says from which
survey, by which package and how; another fingerprint is an error, never a mixture.
"""

from distcnn.inference.prediction_store.elements import begin_once, create_or_await, open_share
from distcnn.inference.prediction_store.fingerprint import SETTINGS_WITHOUT_EFFECT, fingerprint
from distcnn.inference.prediction_store.layout import (
    DEAD_LETTERS,
    MAX_CHUNK_STARS,
    MIN_REGION_STARS,
    MIN_REGIONS,
    layout,
    provenance,
    region_stars,
    regions_of,
)
from distcnn.inference.prediction_store.opening import (
    discard_unfinished,
    finished_regions,
    has_engine,
    open_prediction_store,
)

__all__ = [
    "DEAD_LETTERS",
    "MAX_CHUNK_STARS",
    "MIN_REGIONS",
    "MIN_REGION_STARS",
    "SETTINGS_WITHOUT_EFFECT",
    "begin_once",
    "create_or_await",
    "discard_unfinished",
    "fingerprint",
    "finished_regions",
    "has_engine",
    "layout",
    "open_prediction_store",
    "open_share",
    "provenance",
    "region_stars",
    "regions_of",
]
