"""Telling what a path is: its kind, what it was made from, and how complete it is."""

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from distcnn.errors import InputError
from distcnn.evaluation.baseline_table import is_baselines, read_baselines, read_facts
from distcnn.formatting import format_bytes
from distcnn.location import Address, Location
from distcnn.report.text.package import describe_package
from distcnn.schema import Flag
from distcnn.survey import ElementProgress, Store, array_progress, bytes_below, stored_regions

_QUIET = {"coordinates", "format", "kind", "complete", "limits", "flag_texts"}


def describe(address: Address) -> str:
    """Readable text about a store, package, table of baselines, unfinished run or archive folder.

    Raises
    ------
    InputError : the path is nothing that distcnn makes or reads.
    """
    place = Location.parse(address)
    if (place / "zarr.json").exists():
        return "\n".join(_store(Store.open(place)))
    with place.local_copy() as path:
        return "\n".join(_lines(path)).replace(str(path), str(place))


def _lines(path: Path) -> Iterator[str]:
    if (path / "manifest.json").is_file():
        yield from describe_package(path)
    elif is_baselines(path):
        yield from _baselines(path)
    elif path.suffix == ".partial" and path.is_dir():
        yield f"{path}: an unfinished run; the same command again goes on with it"
    elif path.is_dir() and any(path.iterdir()):
        yield from _folder(path)
    else:
        raise InputError(
            f"{path} is nothing that distcnn makes or reads",
            expected="a survey, package, prediction store, catalogue or archive folder",
        )


def _baselines(path: Path) -> Iterator[str]:
    facts, table = read_facts(path), read_baselines(path)
    yield f"{path}: baselines for {', '.join(table.labels)}"
    for title, found in table.methods.items():
        yield f"  {len(found.source_id):9,} stars  {title}"
    yield from _attributes({"distcnn_version": facts["distcnn_version"], **table.origin})


def _store(store: Store) -> Iterator[str]:
    kind = "survey" if store.attrs["kind"] == "survey" else "prediction store"
    yield f"{store.location}: a {kind} of {store.stars:,} stars"
    yield f"  complete      {_completeness(store)}"
    yield from _elements(array_progress(store))
    yield f"  size on disk  {format_bytes(store.location.size())}"
    yield f"  layout        shards of {store.shard_stars:,} stars, chunks of {store.chunk_stars:,}"
    yield "  dimensions    " + ", ".join(f"{k} {v:,}" for k, v in store.sizes.items())
    yield "  variables     " + ", ".join(_with_unit(store, n) for n in store.variables)
    yield from _attributes(store.attrs)
    if store.attrs["kind"] == "predictions":
        yield "  flag bits"
        yield from (f"    {flag.value:5d}  {flag.sentence}" for flag in Flag)


def _completeness(store: Store) -> str:
    if store.attrs.get("complete"):
        return "yes"
    done = len(stored_regions(store))
    return f"no, {done} of {len(store.regions())} regions; the same command again goes on"


def _elements(progress: Sequence[ElementProgress]) -> Iterator[str]:
    """How far every element of a job array is, those that are done in one line."""
    for count in dict.fromkeys(one.share.count for one in progress):
        elements = [one for one in progress if one.share.count == count]
        done = [str(one.share.element) for one in elements if one.done == one.regions]
        yield f"  array of {count:<4d} elements done: {' '.join(done) or 'none'}"
        yield from (
            f"                element {one.share}: {one.done} of {one.regions} regions"
            for one in elements
            if one.done < one.regions
        )


def _with_unit(store: Store, name: str) -> str:
    unit = store.units(name)
    return f"{name} [{unit}]" if unit else name


def _attributes(attrs: Mapping[str, Any]) -> Iterator[str]:
    for key in sorted(set(attrs) - _QUIET):
        yield f"  {key:13s} {_short(attrs[key])}"


def _short(value: Any) -> str:
    text = _plain(value)
    return text if len(text) <= 300 else f"{text[:297]}..."


def _plain(value: Any) -> str:
    if isinstance(value, Mapping):
        return ", ".join(
            f"{key} ({_plain(inner)})" if isinstance(inner, Mapping) else f"{key} {_plain(inner)}"
            for key, inner in value.items()
        )
    if isinstance(value, list) and not any(isinstance(inner, Mapping) for inner in value):
        return " ".join(_plain(inner) for inner in value)
    if isinstance(value, float):
        return f"{value:.6g}"
    return value if isinstance(value, str) else json.dumps(value)


def _folder(path: Path) -> Iterator[str]:
    kinds = Counter(_kind(file.name) for file in path.iterdir() if file.is_file())
    yield f"{path}: a folder of {sum(kinds.values())} files, {format_bytes(bytes_below(path))}"
    for kind, count in sorted(kinds.items()):
        yield f"  {count:6d}  {kind}"


def _kind(name: str) -> str:
    stem, _, rest = name.partition(".")
    return f"{stem.split('_')[0]}*.{rest}"
