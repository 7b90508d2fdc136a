"""Folders of this machine for what belongs to places elsewhere: a cache, and unfinished work."""

import os
from pathlib import Path

from distcnn import hashing
from distcnn.errors import UsageError
from distcnn.location.local import LocalLocation
from distcnn.location.place import Location


def cache_folder() -> Path:
    """Where packages from object stores are kept: ``DISTCNN_CACHE``, or ``~/.cache/distcnn``.

    Raises
    ------
    UsageError : neither is there.
    """
    chosen = os.environ.get("DISTCNN_CACHE")
    try:
        return Path(chosen) if chosen else Path("~/.cache/distcnn").expanduser()
    except RuntimeError:
        raise UsageError(
            "this user has no home folder", expected="DISTCNN_CACHE, the path of a folder"
        ) from None


def work_folder(product: Location) -> Path:
    """Where the unfinished work on a product is: ``NAME.partial``.

    Beside the product where that is on a disk. Else in ``DISTCNN_WORK``, or in the cache, under a
    name that says which product it is: workers of other machines need that to be a shared folder.
    """
    if isinstance(product, LocalLocation):
        return product.path.with_name(f"{product.name}.partial")
    chosen = os.environ.get("DISTCNN_WORK")
    folder = Path(chosen) if chosen else cache_folder() / "work"
    return (folder / f"{product.name}-{hashing.of_value(str(product))[:12]}.partial").absolute()
