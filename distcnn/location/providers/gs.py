"""Google Cloud Storage."""

import json
from pathlib import Path
from typing import Any

from distcnn.errors import PlaceError
from distcnn.location.providers.environment import (
    PUBLIC,
    first_of,
    is_on,
    machine_is_of,
    no_credentials,
    refuse_unencrypted,
)
from distcnn.location.settings import ObjectSettings

ALLOW_HTTP = "GOOGLE_ALLOW_HTTP"
CREDENTIALS = (
    "GOOGLE_APPLICATION_CREDENTIALS, the path of a key of a service account, or the file that "
    "`gcloud auth application-default login` makes"
)
_FILES = (
    "GOOGLE_SERVICE_ACCOUNT",
    "GOOGLE_SERVICE_ACCOUNT_PATH",
    "GOOGLE_APPLICATION_CREDENTIALS",
)
_VALUES = ("GOOGLE_BEARER_TOKEN", "GOOGLE_SERVICE_ACCOUNT_KEY")
_OF_GCLOUD = "~/.config/gcloud/application_default_credentials.json"
_READ = {"service_account", "authorized_user"}
_SHORT_LIVED = 'export GOOGLE_BEARER_TOKEN="$(gcloud auth print-access-token)" gives an hour.'


def options_of(bucket: str, settings: ObjectSettings) -> dict[str, Any]:
    """What the library is told of a bucket.

    Raises
    ------
    PlaceError : there are no credentials, their file cannot be used, or the endpoint is not
        encrypted and must be.
    """
    endpoint = settings.endpoint or first_of("GOOGLE_BASE_URL")
    ObjectSettings(endpoint=endpoint)  # refuses a password in it
    refuse_unencrypted(endpoint, settings, ALLOW_HTTP)
    config: dict[str, Any] = {"base_url": endpoint} if endpoint else {}
    if settings.anonymous or is_on("GOOGLE_SKIP_SIGNATURE"):
        return {**config, "skip_signature": True}
    if first_of(*_VALUES):
        return config
    if file := first_of(*_FILES) or _file_of_gcloud():
        _check(Path(file))
    elif endpoint or not machine_is_of("Google"):
        raise no_credentials(f"gs://{bucket}", CREDENTIALS, PUBLIC)
    return config


def _file_of_gcloud() -> str:
    try:
        path = Path(_OF_GCLOUD).expanduser()
    except RuntimeError:  # there is no home
        return ""
    return str(path) if path.exists() else ""


def _check(path: Path) -> None:
    """Refuse a file of credentials that the library will not take."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        kind = found.get("type", "service_account")
    except (OSError, ValueError, AttributeError) as error:
        # Its text may quote the file.
        raise PlaceError(
            f"{path} cannot be read as credentials of Google ({type(error).__name__})",
            expected=CREDENTIALS,
        ) from None
    if kind not in _READ:
        raise PlaceError(
            f"{path} has credentials of type {kind!r}, which is not read here",
            expected=" or ".join(sorted(_READ)),
            cure=_SHORT_LIVED,
        )
