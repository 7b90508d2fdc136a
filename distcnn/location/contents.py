"""What is at a place, in words: for errors that met something else than they expected."""

import json
from difflib import get_close_matches
from itertools import islice

from distcnn.errors import DistcnnError
from distcnn.location.place import Location

_MANIFESTS = ("zarr.json", "manifest.json")
_STORES = {"survey": "a survey store", "predictions": "a prediction store"}
NOT_THERE, A_FILE, A_PACKAGE, STORES = "not there", "a file", "a package", tuple(_STORES.values())
"""What ``contents_of`` says of nothing, of a file, and of what distcnn makes."""
_MOST_NAMES = 1000
"""As many names of a folder are looked at for one like that which is not there."""


def contents_of(place: Location) -> str:
    """``a survey store``, ``a package``, ``a file``, ``an empty folder``, ``a folder of ...``."""
    try:
        if place.is_folder():
            return _of_folder(place)
        return A_FILE if place.exists() else NOT_THERE
    except (OSError, DistcnnError):
        return "not to be looked at"


def _of_folder(place: Location) -> str:
    names = sorted(child.name for child in islice(place.children(), _MOST_NAMES))
    if not names:
        return "an empty folder"
    for name in _MANIFESTS:
        if name in names:
            return _of_manifest(place / name)
    shown = ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
    return f"a folder with {shown}"


def _of_manifest(file: Location) -> str:
    try:
        told = json.loads(file.read_bytes())
        if file.name == "manifest.json":
            return A_PACKAGE if told.get("kind") == "package" else "a folder with manifest.json"
        kind = str(told.get("attributes", {}).get("kind", ""))
        return _STORES.get(kind, "a Zarr store that distcnn did not make")
    except (ValueError, AttributeError):
        return f"a folder whose {file.name} is damaged"


def is_finished_store(place: Location) -> bool:
    """Whether a store is there that says it is complete; one small file is read, and nothing
    imported.
    """
    try:
        told = json.loads((place / "zarr.json").read_bytes())
        return bool(told.get("attributes", {}).get("complete"))
    except (OSError, ValueError, AttributeError, DistcnnError):
        return False


def nothing_at(place: Location) -> tuple[str, str]:
    """What to say of a place where nothing is, and the name near to it that was perhaps meant."""
    if place.is_folder():
        return f"{place} is an empty folder", ""
    parent = place.parent
    if "://" in place.address:  # a listing may be long, and costs
        return f"{place} does not exist", ""
    try:
        names = [child.name for child in islice(parent.children(), _MOST_NAMES)]
    except OSError:
        names = []
    near = get_close_matches(place.name, names, n=1, cutoff=0.7)
    where = "" if names or parent.is_folder() else f", nor its folder {parent}"
    return f"{place} does not exist{where}", f"Did you mean {parent / near[0]}?" if near else ""
