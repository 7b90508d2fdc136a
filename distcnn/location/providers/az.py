"""Azure Blob Storage: a container of a storage account."""

import os
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

ALLOW_HTTP = "AZURE_ALLOW_HTTP"
CREDENTIALS = (
    "AZURE_STORAGE_ACCOUNT and AZURE_STORAGE_KEY or AZURE_STORAGE_SAS_TOKEN, or "
    "AZURE_STORAGE_CONNECTION_STRING"
)
_ACCOUNT = ("AZURE_STORAGE_ACCOUNT_NAME", "AZURE_STORAGE_ACCOUNT")
_KEY = (
    "AZURE_STORAGE_ACCOUNT_KEY",
    "AZURE_STORAGE_ACCESS_KEY",
    "AZURE_STORAGE_MASTER_KEY",
    "AZURE_STORAGE_KEY",
)
_SIGNATURE = ("AZURE_STORAGE_SAS_TOKEN", "AZURE_STORAGE_SAS_KEY")
_ROLES = (
    "AZURE_STORAGE_TOKEN",
    "AZURE_CLIENT_SECRET",
    "AZURE_STORAGE_CLIENT_SECRET",
    "AZURE_FEDERATED_TOKEN_FILE",
    "AZURE_MSI_ENDPOINT",
    "AZURE_IDENTITY_ENDPOINT",
    "AZURE_CREDENTIAL_TYPE",
    "AZURE_FABRIC_TOKEN_SERVICE_URL",
)
"""Variables from which the library gets a token by itself."""
_LOGIN = "After `az login` AZURE_USE_AZURE_CLI=true takes its token."
_IN_CONNECTION_STRING = {
    "AccountName": "account_name",
    "AccountKey": "account_key",
    "SharedAccessSignature": "sas_key",
    "BlobEndpoint": "endpoint",
}


def options_of(bucket: str, settings: ObjectSettings) -> dict[str, Any]:
    """What the library is told of a container.

    Raises
    ------
    PlaceError : there are no credentials or no account, or the endpoint is not encrypted and
        must be.
    """
    if is_on("AZURE_STORAGE_USE_EMULATOR"):  # AZURITE_BLOB_STORAGE_URL says where it is
        return {"use_emulator": True}
    config = _of_connection_string()
    for key, names in (("account_name", _ACCOUNT), ("account_key", _KEY), ("sas_key", _SIGNATURE)):
        if found := first_of(*names):
            config[key] = found
    endpoint = settings.endpoint or first_of("AZURE_STORAGE_ENDPOINT", "AZURE_ENDPOINT")
    if endpoint := endpoint or config.get("endpoint", ""):
        ObjectSettings(endpoint=endpoint)  # refuses a password in it
        config["endpoint"] = endpoint
    refuse_unencrypted(endpoint, settings, ALLOW_HTTP)
    if "account_name" not in config:
        raise PlaceError(
            f"nothing says in which storage account az://{bucket} is", expected=CREDENTIALS
        )
    if settings.anonymous or is_on("AZURE_SKIP_SIGNATURE"):
        return {**config, "skip_signature": True}
    if not _has_credentials(config) and (endpoint or not machine_is_of("Microsoft")):
        raise no_credentials(f"az://{bucket}", CREDENTIALS, f"{_LOGIN} {PUBLIC}")
    return config


def _of_connection_string() -> dict[str, Any]:
    """What the variable that Azure's own tools read says, under the library's names."""
    text = os.environ.get("AZURE_STORAGE_CONNECTION_STRING", "")
    pairs = (part.partition("=") for part in text.split(";"))
    return {_IN_CONNECTION_STRING[k]: v for k, _, v in pairs if k in _IN_CONNECTION_STRING}


def _has_credentials(config: dict[str, Any]) -> bool:
    given = "account_key" in config or "sas_key" in config
    return given or bool(first_of(*_ROLES)) or is_on("AZURE_USE_AZURE_CLI")
