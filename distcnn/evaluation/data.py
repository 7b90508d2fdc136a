"""What a report is made of: finished products and nothing that computes."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class Rival:
    """Labels of another method: ``label`` [N, L] in the order of the predictions' labels."""

    source_id: Array
    label: Array


@dataclass(frozen=True)
class ReportData:
    """Input of ``write_report``. Only ``predictions`` must be given; the page says what it lacks.

    Attributes
    ----------
    predictions : the prediction store.
    survey : the survey store it was made from: spectra, masks, reference labels, quarantine.
    truth : parquet table of a simulated survey: ``source_id``, labels by name, ``trouble``.
    seen : source_ids that training, stopping or calibration used; none of them is judged.
    manifest : manifest of the package; printed as provenance.
    curves : learning curves as in the package: ``member``, and ``epochs`` as pairs of training
        and validation loss.
    rivals : name -> labels of other methods on stars outside training.
    ledger : ledger of the predictions with ``seconds`` per region; None = the store's own.
    """

    predictions: Path
    survey: Path | None = None
    truth: Path | None = None
    seen: Array | None = None
    manifest: Mapping[str, Any] | None = None
    curves: Sequence[Mapping[str, Any]] = ()
    rivals: Mapping[str, Rival] = field(default_factory=dict)
    ledger: Path | None = None
