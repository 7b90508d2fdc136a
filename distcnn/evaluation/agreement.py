"""Agreement of the network with the best standard method, star by star.

Two methods that learn from other things rarely err alike: where they differ by several of their
errors, one of them is wrong, and a user may want neither. Standard methods compare spectra with
models of spectra; which of them is the best is decided label by label on the validation split,
never on the test split.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from distcnn import hashing
from distcnn.arrays import Array, find_sorted
from distcnn.errors import InputError
from distcnn.evaluation.baseline_table import NETWORK, BaselineTable, read_baselines
from distcnn.location import Address


@dataclass(frozen=True)
class StandardLabels:
    """Labels of the best standard method of every label, of stars that it was not fitted on.

    Attributes
    ----------
    names : of the L labels, in the order of the columns.
    methods : label -> title of the method.
    source_id : [K] ascending. ``label``, ``error`` : [K, L] in label units; NaN = none.
    """

    names: tuple[str, ...]
    methods: Mapping[str, str]
    source_id: Array
    label: Array
    error: Array

    @classmethod
    def read(cls, path: Address, names: Sequence[str]) -> "StandardLabels":
        """From a table of ``distcnn compare``; of ``names`` those that it has.

        Raises
        ------
        FileBroken : it is not readable, or no table of baselines.
        InputError : it does not say how good its methods are on the validation split.
        """
        table = read_baselines(path)
        known = [name for name in names if name in table.labels]
        methods = best_standard_methods(table, known)
        if len(methods) < len(known):
            raise InputError(
                f"{path} does not say which method is the best on the validation split",
                expected="a table of this version of `distcnn compare`",
                cure="Make it again: `distcnn compare SURVEY OUT --package PACKAGE`.",
            )
        return cls.of(table, methods)

    @classmethod
    def of(cls, table: BaselineTable, methods: Mapping[str, str]) -> "StandardLabels":
        """The labels of these methods."""
        names = tuple(methods)
        columns = [table.labels.index(name) for name in names]
        found = [table.methods[methods[name]] for name in names]
        ids = next(iter(table.methods.values())).source_id
        order = np.argsort(ids)
        missing = np.full(len(ids), np.nan)
        label = [one.label[:, c] for one, c in zip(found, columns, strict=True)]
        error = [
            missing if one.error is None else one.error[:, c]
            for one, c in zip(found, columns, strict=True)
        ]
        stacked = (np.stack(part, axis=1)[order] for part in (label, error))
        return cls(names, dict(methods), ids[order], *stacked)

    @property
    def digest(self) -> str:
        """Digest of all that decides the columns made of it."""
        return hashing.of_value(
            {
                "methods": dict(self.methods),
                "arrays": hashing.of_arrays(
                    {"id": self.source_id, "label": self.label, "error": self.error}
                ),
            }
        )

    def at(self, source_id: Array) -> tuple[Array, Array]:
        """Labels and errors [N, L] of stars [N]; NaN where the method was not asked."""
        place, found = find_sorted(self.source_id, source_id)
        out = []
        for values in (self.label, self.error):
            rows = np.full((len(source_id), len(self.names)), np.nan, np.float32)
            rows[found] = values[place[found]]
            out.append(rows)
        return out[0], out[1]


def best_standard_methods(table: BaselineTable, names: Sequence[str]) -> dict[str, str]:
    """Label -> title of the method of least 1.48 MAD on the validation split.

    Of standard methods where the table has some, else (a survey without spectra) of all.
    """
    best = {}
    for name in names:
        known = {
            title: facts
            for title, facts in table.facts.items()
            if title != NETWORK and name in facts.validation_mad
        }
        standard = [title for title, facts in known.items() if facts.spectroscopic]
        if known:
            best[name] = min(standard or known, key=lambda t: known[t].validation_mad[name])
    return best


def agreement(label: Array, error: Array, standard: Array, standard_error: Array) -> Array:
    """Float32 [N, L]: network minus standard method over both errors; NaN where one is missing."""
    return np.asarray((label - standard) / np.hypot(error, standard_error), np.float32)
