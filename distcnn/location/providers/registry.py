"""The kinds by the scheme of their addresses."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from distcnn.errors import PlaceError
from distcnn.location.providers import az, gs, s3
from distcnn.location.providers.environment import is_on
from distcnn.location.settings import ObjectSettings

if TYPE_CHECKING:
    from obstore.store import ObjectStore


@dataclass(frozen=True)
class Provider:
    """``library_class``: its name in ``obstore.store``; ``options_of``: what that is given for a
    bucket, beside what it finds itself; ``credentials``: where it looks for them, in words;
    ``allow_http``: the variable that admits connections without encryption.
    """

    library_class: str
    options_of: Callable[[str, ObjectSettings], dict[str, Any]]
    credentials: str
    allow_http: str


PROVIDERS: Mapping[str, Provider] = {
    "s3": Provider("S3Store", s3.options_of, s3.CREDENTIALS, s3.ALLOW_HTTP),
    "gs": Provider("GCSStore", gs.options_of, gs.CREDENTIALS, gs.ALLOW_HTTP),
    "az": Provider("AzureStore", az.options_of, az.CREDENTIALS, az.ALLOW_HTTP),
}


def open_store(
    scheme: str, bucket: str, settings: ObjectSettings, options: Mapping[str, Any]
) -> "ObjectStore":
    """The library's client of a bucket; ``options``: what is the same for all kinds.

    Raises
    ------
    PlaceError : there are no credentials, or they or the settings cannot be used.
    ImportError : the library is not installed.
    """
    from obstore import store

    provider = PROVIDERS[scheme]
    config = provider.options_of(bucket, settings)
    opened: Any = getattr(store, provider.library_class)
    encrypted_only = not (settings.allow_http or is_on(provider.allow_http))
    client_options = {**options["client_options"], "allow_http": not encrypted_only}
    try:
        client: ObjectStore = opened(
            bucket, config=config, **{**options, "client_options": client_options}
        )
    except Exception as error:  # its text may quote a key
        raise PlaceError(
            f"{scheme}://{bucket}: its settings or credentials cannot be used "
            f"({type(error).__name__})",
            expected=provider.credentials,
            cure="Check what they hold; they are not shown here.",
        ) from None
    return client
