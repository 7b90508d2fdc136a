"""Clients of object stores: one for each process, bucket and settings, opened when first needed.

A client holds threads and connections, so it is neither pickled nor taken over by a forked
process: addresses travel, and each process opens its own.
"""

import os
from datetime import timedelta
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from distcnn.errors import MissingExtra, PlaceError
from distcnn.location.providers import open_store
from distcnn.location.settings import ObjectSettings

if TYPE_CHECKING:
    from obstore.store import ObjectStore

FIRST_PAUSE_S = 0.5
"""Before a request is sent again. Each pause is drawn between this and twice the last one: from
0.1 s, as obstore begins, ten are over in 2 s, while a server that restarts needs 20."""
LONGEST_PAUSE_S = 10.0

_opened_by = list[int]()


def open_client(
    scheme: str, bucket: str, settings: ObjectSettings, prefix: str = ""
) -> "ObjectStore":
    """The client of this process for a bucket; keys are relative to ``prefix``.

    Raises
    ------
    MissingExtra : obstore is not installed.
    PlaceError : there are no credentials, or the endpoint is not encrypted and must be.
    """
    process = os.getpid()
    if _opened_by and _opened_by[0] != process:
        raise PlaceError(
            f"{scheme}://{bucket} was opened before this process was forked",
            expected="a process that was started anew (spawn)",
        )
    client = _open(scheme, bucket, settings, prefix)
    if not _opened_by:
        _opened_by.append(process)
    return client


@lru_cache(maxsize=64)
def _open(scheme: str, bucket: str, settings: ObjectSettings, prefix: str) -> "ObjectStore":
    options: dict[str, Any] = {
        "prefix": prefix or None,
        "client_options": {
            "timeout": timedelta(seconds=settings.timeout_seconds),
            "connect_timeout": timedelta(seconds=min(5.0, settings.timeout_seconds)),
        },
        "retry_config": {
            "max_retries": settings.retries,
            "retry_timeout": timedelta(seconds=settings.retry_seconds),
            "backoff": {
                "init_backoff": timedelta(seconds=FIRST_PAUSE_S),
                "max_backoff": timedelta(seconds=LONGEST_PAUSE_S),
            },
        },
    }
    try:
        return open_store(scheme, bucket, settings, options)
    except ImportError:
        raise MissingExtra.of(f"{scheme}:// addresses", "obstore", "s3") from None
