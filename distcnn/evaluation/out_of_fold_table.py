"""The table of out-of-fold predictions: what methods say of labelled stars they never saw.

out_of_fold.parquet, in a package whose members were trained on folds:

    source_id             every labelled star outside the test split, in the order of the survey
    method                "ensemble", or another method that was fitted on the same folds
    fold                  the star's fold (``train.split``), which none of ``members`` has seen
    members               how many networks the label is the mean of
    LABEL                 the prediction, in the unit of the label
    LABEL_noise           learned noise, uncalibrated; of other methods the error that they give
    LABEL_scatter         standard deviation between members of the whole ensemble (estimated)
    LABEL_fewer_members_error   what this label errs more than the whole ensemble's: it is the
                          mean of fewer members

Rows of one method stand together. Metadata (key ``distcnn``, JSON): format, labels in order.
"""

import io
import json
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from distcnn import __version__
from distcnn.arrays import Array
from distcnn.errors import FileBroken
from distcnn.location import Address
from distcnn.manifest import read_file, read_manifest

OUT_OF_FOLD = "out_of_fold.parquet"
"""Name of the file in a package."""
OUT_OF_FOLD_FORMAT = 1
ENSEMBLE = "ensemble"
"""The method that the package itself is."""
_KEY = b"distcnn"
_COLUMNS = ("label", "noise", "scatter", "fewer_members_error")


@dataclass(frozen=True)
class OutOfFoldLabels:
    """What one method says of N stars, label units.

    Attributes
    ----------
    source_id, fold, members : [N].
    label, noise, scatter, fewer_members_error : [N, L]; NaN where the method has none.
    """

    source_id: Array
    fold: Array
    members: Array
    label: Array
    noise: Array
    scatter: Array
    fewer_members_error: Array


@dataclass(frozen=True)
class OutOfFoldTable:
    """Predictions by method; ``labels`` are the names of their labels in order."""

    labels: tuple[str, ...]
    methods: Mapping[str, OutOfFoldLabels]

    def to_bytes(self) -> bytes:
        """The file."""
        facts = {
            "format": OUT_OF_FOLD_FORMAT,
            "kind": "out_of_fold",
            "distcnn_version": __version__,
            "labels": list(self.labels),
        }
        rows = pa.concat_tables([_rows(*method, self.labels) for method in self.methods.items()])
        out = io.BytesIO()
        pq.write_table(
            rows.replace_schema_metadata({_KEY: json.dumps(facts)}), out, compression="zstd"
        )
        return out.getvalue()

    @classmethod
    def from_bytes(cls, data: bytes) -> "OutOfFoldTable":
        """The table that a file holds.

        Raises
        ------
        FileBroken : it is no such table.
        """
        try:
            table = pq.read_table(io.BytesIO(data))
            facts = json.loads((table.schema.metadata or {})[_KEY])
            if (facts["kind"], facts["format"]) != ("out_of_fold", OUT_OF_FOLD_FORMAT):
                raise ValueError(f"{facts['kind']} of format {facts['format']}")
            labels = tuple(str(name) for name in facts["labels"])
            method = np.array(table["method"].to_pylist(), object)
            names = [str(name) for name in dict.fromkeys(method)]
            return cls(labels, {name: _method(table, method == name, labels) for name in names})
        except (KeyError, TypeError, ValueError, pa.ArrowException) as error:
            raise FileBroken(
                f"this is no table of out-of-fold predictions ({type(error).__name__}: {error})",
                expected=f"{OUT_OF_FOLD} of a package, format {OUT_OF_FOLD_FORMAT}",
                cure="Train again with train.split.method=folds.",
            ) from None


def read_out_of_fold(package: Address) -> OutOfFoldTable | None:
    """The table of a package; None where its members were not trained on folds.

    Raises
    ------
    PackageError : there is no package.
    DigestMismatch, FileBroken : the table was changed, or is none.
    """
    manifest = read_manifest(package)
    if OUT_OF_FOLD not in manifest.files:
        return None
    return OutOfFoldTable.from_bytes(read_file(package, manifest, OUT_OF_FOLD))


def _ending(column: str) -> str:
    return "" if column == "label" else f"_{column}"


def _rows(name: str, found: OutOfFoldLabels, labels: tuple[str, ...]) -> pa.Table:
    columns = {
        "source_id": found.source_id.astype(np.int64),
        "method": pa.array([name] * len(found.source_id), pa.string()).dictionary_encode(),
        "fold": found.fold.astype(np.int8),
        "members": found.members.astype(np.int16),
    }
    for number, label in enumerate(labels):
        for column in _COLUMNS:
            values = getattr(found, column)[:, number]
            columns[f"{label}{_ending(column)}"] = values.astype(np.float32)
    return pa.table(columns)


def _method(table: pa.Table, mine: Array, labels: tuple[str, ...]) -> OutOfFoldLabels:
    def column(name: str) -> Array:
        return np.asarray(table[name].to_numpy()[mine])

    arrays = {
        name: np.stack([column(f"{label}{_ending(name)}") for label in labels], axis=1)
        for name in _COLUMNS
    }
    return OutOfFoldLabels(column("source_id"), column("fold"), column("members"), **arrays)
