"""The table of baselines: labels of other methods, and of which survey and split they are.

baselines.parquet   source_id, method, one column per label, and <label>_error where a method
gives errors; NaN = no value. The method ``network`` is the package itself on the same stars. The
metadata (key ``distcnn``, JSON) hold format, version, ``origin``, ``settings`` and what is known
of every method (``MethodFacts``); tables of older versions lack network and facts.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from distcnn import __version__, hashing
from distcnn.arrays import Array
from distcnn.config import SplitConfig
from distcnn.errors import FileBroken, StoreError
from distcnn.location import Address, Location
from distcnn.survey import Store
from distcnn.survey.split import groups_digest

BASELINES_FORMAT = 1
NETWORK = "network"
"""Title of the package's own labels among those of other methods."""
TABLE_ENDING = ".parquet"
_KEY = b"distcnn"


@dataclass(frozen=True)
class BaselineLabels:
    """Labels of another method for stars that it was not fitted on.

    Attributes
    ----------
    source_id : [N].
    label : [N, L] in label units; NaN where the method has none.
    error : [N, L] standard errors; None where the method gives none.
    """

    source_id: Array
    label: Array
    error: Array | None = None


@dataclass(frozen=True)
class MethodFacts:
    """What is known of a method beside its labels.

    Attributes
    ----------
    name : of its row in the registry, as the command line has it.
    spectroscopic : whether it compares spectra with models of spectra.
    fit_seconds : wall-clock time of its training. ``stars_per_second`` : of its predictions.
    validation_mad : label -> 1.48 MAD of its residuals on the validation split, label units.
    """

    name: str
    spectroscopic: bool
    fit_seconds: float
    stars_per_second: float
    validation_mad: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class BaselineTable:
    """Labels by title of the method, ``labels`` their names in order, and where they are from.

    Attributes
    ----------
    origin : digests of the survey and of the split, and the labels (``origin_of``).
    settings : what else decides the values.
    facts : by title of the method; empty in tables of older versions.
    """

    labels: tuple[str, ...]
    methods: Mapping[str, BaselineLabels]
    origin: Mapping[str, Any]
    settings: Mapping[str, Any]
    facts: Mapping[str, MethodFacts] = field(default_factory=dict)

    def ordered(self, names: Sequence[str]) -> dict[str, BaselineLabels]:
        """The methods, the network apart, with their labels in the order of ``names``.

        Raises
        ------
        ValueError : a name is no label of the table.
        """
        columns = [self.labels.index(name) for name in names]
        return {
            title: BaselineLabels(
                found.source_id,
                found.label[:, columns],
                None if found.error is None else found.error[:, columns],
            )
            for title, found in self.methods.items()
            if title != NETWORK
        }


def origin_of(survey: Store, split: SplitConfig, labels: Sequence[str]) -> dict[str, Any]:
    """What a table of baselines must have in common with predictions to be shown beside them.

    Raises
    ------
    ConfigError : the split's table of groups is not there.
    """
    # Folds leave the four parts where they are, and baselines are fitted on those.
    settings = split.model_dump(mode="json", exclude={"groups", "method", "folds"})
    return {
        "survey": survey.attrs.get("fingerprint"),
        "split": hashing.of_value(settings | {"groups": groups_digest(split)}),
        "labels": list(labels),
    }


def differences(found: Mapping[str, Any], wanted: Mapping[str, Any]) -> list[str]:
    """Names of the parts of an origin that do not fit: survey, split, or missing labels."""
    other = [key for key in ("survey", "split") if found.get(key) != wanted[key]]
    missing = set(wanted["labels"]) - set(found.get("labels", []))
    return [*other, *([f"labels (no {', '.join(sorted(missing))})"] if missing else [])]


def write_baselines(path: Address, table: BaselineTable) -> None:
    """Write a table; it appears whole or not at all, and replaces one that is there.

    Raises
    ------
    StoreError : the file cannot be written.
    """
    facts = {
        "format": BASELINES_FORMAT,
        "kind": "baselines",
        "distcnn_version": __version__,
        "origin": dict(table.origin),
        "settings": dict(table.settings),
        "labels": list(table.labels),
        "methods": {title: asdict(known) for title, known in table.facts.items()},
    }
    rows = pa.concat_tables([_rows(title, f, table.labels) for title, f in table.methods.items()])
    rows = rows.replace_schema_metadata({_KEY: json.dumps(facts)})
    try:
        with Location.parse(path).new_file() as draft:
            pq.write_table(rows, draft, compression="zstd")
    except OSError as error:
        raise StoreError(
            f"{path} cannot be written ({error})", cure="Give another path for the baselines."
        ) from None


def _rows(title: str, found: BaselineLabels, labels: Sequence[str]) -> pa.Table:
    missing = np.full(found.label.shape, np.nan)
    error = missing if found.error is None else found.error
    columns = {
        "source_id": found.source_id.astype(np.int64),
        "method": pa.array([title] * len(found.source_id), pa.string()).dictionary_encode(),
    }
    for number, name in enumerate(labels):
        columns[name] = found.label[:, number].astype(np.float32)
        columns[f"{name}_error"] = error[:, number].astype(np.float32)
    return pa.table(columns)


def read_baselines(path: Address) -> BaselineTable:
    """Read a table.

    Raises
    ------
    FileBroken : it is not readable, or no table of baselines.
    """
    facts = read_facts(path)
    labels = tuple(facts["labels"])
    try:
        with Location.parse(path).local_copy() as file:
            table = pq.read_table(file)
        titles = np.array(table["method"].to_pylist(), object)
        label = np.stack([table[name].to_numpy() for name in labels], axis=1)
        error = np.stack([table[f"{name}_error"].to_numpy() for name in labels], axis=1)
        source_id = table["source_id"].to_numpy()
    except (OSError, KeyError, pa.ArrowException) as problem:
        raise _broken(path, problem) from None
    methods = {}
    for title in dict.fromkeys(titles):
        mine = titles == title
        known = error[mine] if np.isfinite(error[mine]).any() else None
        methods[str(title)] = BaselineLabels(source_id[mine], label[mine], known)
    known = {title: MethodFacts(**one) for title, one in facts.get("methods", {}).items()}
    return BaselineTable(labels, methods, facts["origin"], facts["settings"], known)


def read_facts(path: Address) -> dict[str, Any]:
    """The metadata of a table, without its rows.

    Raises
    ------
    FileBroken : it is not readable, or no table of baselines.
    """
    try:
        with Location.parse(path).local_copy() as file:
            facts: dict[str, Any] = json.loads((pq.read_schema(file).metadata or {})[_KEY])
        if (facts["kind"], facts["format"]) != ("baselines", BASELINES_FORMAT):
            raise ValueError(f"{facts['kind']} of format {facts['format']}")
    except (OSError, KeyError, TypeError, ValueError, pa.ArrowException) as problem:
        raise _broken(path, problem) from None
    return facts


def is_baselines(path: Address) -> bool:
    """Whether the file is a table of baselines."""
    place = Location.parse(path)
    if not place.name.lower().endswith(TABLE_ENDING) or not place.exists() or place.is_folder():
        return False
    try:
        return bool(read_facts(path))
    except FileBroken:
        return False


def _broken(path: Address, problem: Exception) -> FileBroken:
    return FileBroken(
        f"{path} is no table of baselines ({type(problem).__name__}: {problem})",
        expected=f"a file of `distcnn compare`, format {BASELINES_FORMAT}",
        cure="Write it again with `distcnn compare SURVEY OUT --package PACKAGE`.",
    )
