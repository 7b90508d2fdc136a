"""Tokens: files by which driver and workers show each other that they see the same place."""

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from time import monotonic, sleep
from uuid import uuid4

from distcnn.clusters.dask_workers.preflight.examine import PROBE_BYTES, probe_digest
from distcnn.errors import UsageError
from distcnn.location import Location
from distcnn.stopping import removed_at_end

PROBES = ("zarr.json", "manifest.json")
"""Files by which a product is known."""
TOKEN_S = 20.0
"""Time for a file that a worker has written to be seen here (network file systems)."""
BESIDE = "beside the output"
"""What the place of the tokens is called."""


def probe_of(place: Location) -> dict[str, str]:
    """A file of a product and the digest of its beginning."""
    file = next((place / name for name in PROBES if (place / name).exists()), None)
    if file is None:
        inside = sorted(place.children(), key=lambda one: one.name) if place.is_folder() else []
        file = next((one for one in inside if not one.is_folder()), None)
    if file is None and place.is_folder():
        return {"folder": place.address}
    file = file or place
    return {"file": file.address, "digest": probe_digest(_beginning(file))}


def _beginning(file: Location) -> bytes:
    try:
        path = file.local_path
    except UsageError:
        return file.read_bytes()
    with path.open("rb") as stream:
        return stream.read(PROBE_BYTES)


class Tokens:
    """Files that driver and workers write for each other in a folder beside the output.

    ``request``: what ``examine`` is to be asked.
    """

    def __init__(self, folder: Location) -> None:
        self.folder = folder
        text, token = uuid4().hex, folder / "driver"
        token.write_bytes(text.encode())
        self.request = {
            "what": BESIDE,
            "token": token.address,
            "text": text,
            "folder": folder.address,
        }

    def unread(self, names: Mapping[str, str]) -> list[str]:
        """Workers whose token does not come to be seen here."""
        waiting, deadline = dict(names), monotonic() + TOKEN_S
        while True:
            waiting = {a: name for a, name in waiting.items() if not self._is_here(name)}
            if not waiting or monotonic() > deadline:
                return list(waiting)
            sleep(0.2)

    def _is_here(self, name: str) -> bool:
        try:
            return (self.folder / name).read_bytes() == name.encode()
        except OSError:
            return False


@contextmanager
def exchanged_beside(output: Location) -> Iterator[Tokens]:
    """Tokens in a folder of their own, which is gone at exit.

    Raises
    ------
    UsageError : nothing can be written there.
    """
    name = f".distcnn-preflight-{uuid4().hex[:12]}"
    with ExitStack() as stack:
        try:
            base = output.parent
            path = base.local_path
            while not path.exists():
                path, base = path.parent, base.parent
            stack.enter_context(removed_at_end(path / name))
        except UsageError:  # an object store has no folders
            base = output.parent
        folder = base / name
        stack.callback(folder.remove)
        try:
            tokens = Tokens(folder)
        except OSError as error:
            raise UsageError(f"nothing can be written beside {output} ({error})") from error
        yield tokens
