"""Examine: what one process of a cluster tells of itself before any work.

The text of this file is sent to schedulers and workers and run there, so that it also answers
where distcnn is missing: it imports nothing but the standard library at the top, and everything
it is given and gives back are plain values.
"""

import contextlib
import hashlib
import os
import platform
import shutil
import socket
import sys
import tempfile
import uuid
from collections.abc import Iterable
from importlib import metadata
from importlib.util import find_spec
from typing import Any

PROBE_BYTES = 65_536
"""Of a file, compared with what the driver read of it."""


def examine(request: dict[str, Any]) -> dict[str, Any]:
    """Facts of this process, and what it sees of the places of a run.

    Parameters
    ----------
    request : ``packages`` whose versions are told; ``settings`` of Dask to tell; ``reads``, of
        each ``what``, ``file`` (address) and ``digest``, or a ``folder`` without files;
        ``token``, an address to read, with its ``text``; ``folder``, where to write one's own;
        ``modules`` to import once this is answered.
    """
    facts: dict[str, Any] = {
        "host": socket.gethostname(),
        **identity(request["packages"]),
        "settings": {key: _setting(key) for key in request.get("settings", ())},
        "threads": os.environ.get("OMP_NUM_THREADS"),
        "gpus": _gpus(),
        "memory_free": _memory_free(),
        "disk_free": _disk_free(),
        "preloaded": "distcnn.clusters.preload" in sys.modules,
        "unseen": {},
        "token": None,
    }
    for place in request.get("reads", ()):
        if "folder" in place:
            error = "" if os.path.isdir(place["folder"]) else "no such folder"  # noqa: PTH112
        else:
            error = _unlike(place["file"], place["digest"])
        if error:
            facts["unseen"][place["what"]] = error
    if "token" in request:
        error = _unlike(request["token"], hashlib.sha256(request["text"].encode()).hexdigest())
        if error:
            facts["unseen"][request["what"]] = error
        else:
            facts["token"] = _leave_token(request["folder"], facts, request["what"])
    if request.get("modules") and facts["preloaded"]:
        _begin_imports(request["modules"])
    return facts


def identity(packages: Iterable[str]) -> dict[str, Any]:
    """What decides the numbers that this process computes, and whether it understands others."""
    return {
        "python": platform.python_version(),
        "versions": {name: _version(name) for name in packages},
        "code": _code(),
    }


def probe_digest(data: bytes) -> str:
    """Of the beginning of a file."""
    return hashlib.sha256(data[:PROBE_BYTES]).hexdigest()


def _version(name: str) -> str | None:
    """None = it cannot be imported; a package without a record of its version is ``?``."""
    try:
        if find_spec(name) is None:
            return None
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return "?"
    except (ImportError, ValueError):
        return None


def _code() -> str | None:
    """Digest of the code of distcnn, whose version may stand for several; None = there is none."""
    try:
        spec = find_spec("distcnn")
        folder = (spec.submodule_search_locations or [""])[0] if spec else ""
        digest = hashlib.sha256()
        for at, names, files in os.walk(folder):
            names[:] = sorted(set(names) - {"__pycache__"})
            for name in sorted(one for one in files if one.endswith(".py")):
                digest.update(_read(os.path.join(at, name)))  # noqa: PTH118 - plain, as all here
        return digest.hexdigest() if folder else None
    except (ImportError, OSError, ValueError):
        return None


def _setting(key: str) -> Any:
    import dask

    value = dask.config.get(key, None)
    return value if isinstance(value, bool | int | float | str) or value is None else str(value)


def _gpus() -> int | None:
    try:
        from distcnn.gpus import usable_gpus
    except ImportError:
        return None
    return usable_gpus()


def _memory_free() -> int | None:
    try:
        from distcnn.clusters.this_machine import free_memory
    except ImportError:
        return None
    return free_memory()


def _disk_free() -> int | None:
    try:
        return shutil.disk_usage(tempfile.gettempdir()).free
    except OSError:
        return None


def _unlike(address: str, digest: str) -> str:
    """Why a file is not what the driver sees; empty if it is."""
    try:
        found = probe_digest(_read(address))
    except Exception as error:  # any failure is an answer
        return _text_of(error, address)
    return "" if found == digest else f"{address} holds something else there"


def _leave_token(folder: str, facts: dict[str, Any], what: str) -> str | None:
    name = f"worker-{uuid.uuid4().hex}"
    try:
        _write(folder, name, name.encode())
    except Exception as error:  # any failure is an answer
        facts["unseen"][what] = _text_of(error, folder)
        return None
    return name


def _begin_imports(modules: Iterable[str]) -> None:
    with contextlib.suppress(ImportError):  # another version of ours, which will be refused
        from distcnn.clusters.preload import begin_imports

        begin_imports(tuple(modules))


def _text_of(error: Exception, address: str) -> str:
    # The same words from every worker, whose own file the error would name.
    words = getattr(error, "strerror", None) or error
    return f"{address}: {words} ({type(error).__name__})"


def _read(address: str) -> bytes:
    if "://" in address:
        from distcnn.location import Location

        return Location.parse(address).read_bytes()
    with open(address, "rb") as stream:  # noqa: PTH123 - plain, as all here
        return stream.read(PROBE_BYTES)


def _write(folder: str, name: str, data: bytes) -> None:
    if "://" in folder:
        from distcnn.location import Location

        (Location.parse(folder) / name).write_bytes(data)
        return
    with open(f"{folder}/{name}", "wb") as stream:  # noqa: PTH123 - plain, as all here
        stream.write(data)
        with contextlib.suppress(OSError):
            os.fsync(stream.fileno())
