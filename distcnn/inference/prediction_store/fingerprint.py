"""Fingerprint of a prediction store: everything that decides its values."""

from typing import Any

import torch

from distcnn import __version__
from distcnn.config import PredictConfig
from distcnn.inference.compatibility import survey_digest
from distcnn.location import Location
from distcnn.model import Package
from distcnn.survey import Store, check_fingerprint

Attrs = dict[str, Any]
FINGERPRINT_VERSION = 2
SETTINGS_WITHOUT_EFFECT = {
    "device": "chooses hardware, as the cluster does; the store keeps its engine on any device",
    "worker_memory": "only refuses a plan; batches are halved where memory really runs out",
    "accept": "only refuses a survey",
    "attempts": "tries a failed region again, with the same result if it succeeds",
    "verify_sample": "read after the run",
    "verify_tolerance": "read after the run",
}
"""Settings of prediction that may differ when a run is resumed, and why. A list of those left
out: a new setting counts as deciding the result until it is shown that it does not."""
_SETTINGS_OF_VERSION_1 = ("engine", "precision", "batch", "gpu_batch")
"""Stores of the first version, a list of those kept: compared as they were, so they resume."""


def fingerprint(
    package: Package, survey: Store, config: PredictConfig, predictions: Location
) -> Attrs:
    """Everything that decides the values of the result, as the store at ``predictions`` put it.

    Raises
    ------
    StoreError : the path holds something else than a prediction store.
    """
    settings = config.model_dump(mode="json", exclude=set(SETTINGS_WITHOUT_EFFECT))
    version = {"version": FINGERPRINT_VERSION}
    if _fingerprint_version(predictions) == 1:
        settings, version = {name: settings[name] for name in _SETTINGS_OF_VERSION_1}, {}
    return {
        **version,
        "survey": survey_digest(survey),
        "package": package.digest,
        **settings,
        "distcnn": __version__,
        "torch": str(torch.__version__),
    }


def _fingerprint_version(predictions: Location) -> int:
    """That of the store there, or the present one where nothing was begun."""
    if not predictions.exists():
        return FINGERPRINT_VERSION
    found = Store.open(predictions, "predictions").attrs.get("fingerprint", {})
    return int(found.get("version", 1))


def check_begun(store: Store, requested: Attrs) -> None:
    """That a store was begun from what is ``requested`` now.

    Raises
    ------
    FingerprintMismatch : from another survey or package, or otherwise.
    """
    again = f"remove {store.location}"
    if not store.attrs.get("complete"):
        again = f"begin again: --restart removes {store.location}"
    check_fingerprint(
        store.attrs.get("fingerprint", {}),
        requested,
        begun=f"{store.location.name} was begun",
        cure=f"Ask for the same again, use another output path, or {again}.",
    )
