"""Location: where a store, a package or a file is, and every operation on it as a whole.

Products lie on local folders (``LocalLocation``) or in object stores (``ObjectLocation``: s3, gs,
az). Whatever joins, looks, lists, moves, removes or locks them goes through a ``Location``; a new
kind of place is one class that passes ``tests/conformance/location_checks.py`` and a line in
``Location.parse``.

The laws of an object store, to which ``ObjectLocation`` and whoever uses one keep:

- A PUT of one object is atomic, and the only thing that is. There is no rename, no append, no
  conditional PUT and no bulk DELETE (OpenStack Swift refuses both), and no lock.
- A folder is a prefix with at least one object below it. It is made and removed under a marker,
  ``.distcnn.partial``: while that object is there, the folder is not. The object that makes a
  folder valid (``zarr.json``, ``manifest.json``) is written last and removed first.
- Only a process that holds a lease writes a product; a lease is an object that is renewed. Two
  processes that take one at the same moment may both be refused, never both succeed. Should a
  lease be lost all the same (a machine asleep), two runs compute the same values twice.
- Credentials come from the environment or the usual files, in each process anew. They are in no
  address, setting, pickle, message or product.
- No exception of the library leaves this room: a missing object is a ``FileNotFoundError`` as on a
  disk, everything else a ``PlaceError`` with its cure.
"""

from distcnn.location.cache import cache_folder, work_folder
from distcnn.location.contents import (
    A_FILE,
    A_PACKAGE,
    NOT_THERE,
    STORES,
    contents_of,
    is_finished_store,
    nothing_at,
)
from distcnn.location.local import LocalLocation
from distcnn.location.objects import ObjectLocation
from distcnn.location.place import Address, Location
from distcnn.location.settings import ObjectSettings

__all__ = [
    "A_FILE",
    "A_PACKAGE",
    "NOT_THERE",
    "STORES",
    "Address",
    "LocalLocation",
    "Location",
    "ObjectLocation",
    "ObjectSettings",
    "cache_folder",
    "contents_of",
    "is_finished_store",
    "nothing_at",
    "work_folder",
]
