"""Clients of object stores: one for each process, bucket and settings, opened when first needed.

A client holds threads and connections, so it is neither pickled nor taken over by a forked
process: addresses travel, and each process opens its own.
"""

import os
from datetime import timedelta
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from distcnn.errors import MissingExtra, PlaceError
from distcnn.location.credentials import Profile, aws_profile, has_own_credentials, on_amazon
from distcnn.location.faults import faults_of
from distcnn.location.settings import ObjectSettings

if TYPE_CHECKING:
    from obstore.store import ObjectStore

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
    try:
        from obstore import store
    except ImportError:
        raise MissingExtra.of(f"{scheme}:// addresses", "obstore", "s3") from None
    options: dict[str, Any] = {
        "prefix": prefix or None,
        "client_options": _client_options(settings),
        "retry_config": {
            "max_retries": settings.retries,
            "retry_timeout": timedelta(seconds=settings.retry_seconds),
            "backoff": {"max_backoff": timedelta(seconds=10)},
        },
    }
    with faults_of(f"{scheme}://{bucket}"):
        if scheme == "s3":
            return store.S3Store(bucket, config=_s3_config(bucket, settings), **options)
        config: Any = {"skip_signature": True} if settings.anonymous else {}
        if settings.endpoint:
            config["base_url" if scheme == "gs" else "endpoint"] = settings.endpoint
        kind: Any = store.GCSStore if scheme == "gs" else store.AzureStore
        client: ObjectStore = kind(bucket, config=config, **options)
        return client


def _client_options(settings: ObjectSettings) -> dict[str, Any]:
    return {
        "allow_http": allows_http(settings),
        "timeout": timedelta(seconds=settings.timeout_seconds),
        "connect_timeout": timedelta(seconds=min(5.0, settings.timeout_seconds)),
    }


def allows_http(settings: ObjectSettings) -> bool:
    """Whether connections without encryption were allowed, by settings or environment."""
    return settings.allow_http or os.environ.get("AWS_ALLOW_HTTP", "").lower() in {"1", "true"}


def _s3_config(bucket: str, settings: ObjectSettings) -> Any:
    profile = aws_profile()
    endpoint = s3_endpoint(settings, profile)
    if endpoint.startswith("http://") and not allows_http(settings):
        raise PlaceError(
            f"the endpoint {endpoint} is not encrypted",
            expected="https",
            cure="If that is meant, set AWS_ALLOW_HTTP=true or objects.allow_http=true.",
        )
    # Swift refuses requests to delete many objects at once, and conditional ones.
    config: dict[str, Any] = {"disable_bulk_delete": True}
    if endpoint:
        config["endpoint"] = endpoint
    region = settings.region or _environment("AWS_REGION", "AWS_DEFAULT_REGION") or profile.region
    if region:
        config["region"] = region
    anonymous = os.environ.get("AWS_SKIP_SIGNATURE", "").lower() in {"1", "true"}
    if settings.anonymous or anonymous:
        return {**config, "skip_signature": True}
    if has_own_credentials():
        return config
    if not profile.keys and (endpoint or not on_amazon()):
        raise _no_credentials(bucket, profile)
    return {**config, **profile.keys}


def s3_endpoint(settings: ObjectSettings, profile: Profile) -> str:
    """The address of the server; empty = Amazon's own."""
    named = ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "AWS_ENDPOINT")
    found = settings.endpoint or _environment(*named) or profile.endpoint
    ObjectSettings(endpoint=found)  # refuses a password in it
    return found


def _environment(*names: str) -> str:
    return next((os.environ[name] for name in names if os.environ.get(name)), "")


def _no_credentials(bucket: str, profile: Profile) -> PlaceError:
    why = f"; profile {profile.name!r} uses {profile.unread}, which is not read here"
    export = "`aws configure export-credentials --format env` prints them for such a profile."
    return PlaceError(
        f"there are no credentials for s3://{bucket} here{why if profile.unread else ''}",
        expected="AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or ~/.aws/credentials",
        cure=export if profile.unread else "For a public bucket set objects.anonymous=true.",
    )
