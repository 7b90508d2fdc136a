"""Amazon's S3, and whatever speaks as it does."""

from typing import Any

from distcnn.errors import PlaceError
from distcnn.location.providers.aws_profile import Profile, aws_profile, has_own_credentials
from distcnn.location.providers.environment import (
    PUBLIC,
    first_of,
    is_on,
    machine_is_of,
    no_credentials,
    refuse_unencrypted,
)
from distcnn.location.settings import ObjectSettings

ALLOW_HTTP = "AWS_ALLOW_HTTP"
CREDENTIALS = "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or ~/.aws/credentials"


def options_of(bucket: str, settings: ObjectSettings) -> dict[str, Any]:
    """What the library is told of a bucket.

    Raises
    ------
    PlaceError : there are no credentials, or the endpoint is not encrypted and must be.
    """
    profile = aws_profile()
    endpoint = _endpoint(settings, profile)
    refuse_unencrypted(endpoint, settings, ALLOW_HTTP)
    # Swift refuses requests to delete many objects at once, and conditional ones.
    config: dict[str, Any] = {"disable_bulk_delete": True}
    if endpoint:
        config["endpoint"] = endpoint
    region = settings.region or first_of("AWS_REGION", "AWS_DEFAULT_REGION") or profile.region
    if region:
        config["region"] = region
    if settings.anonymous or is_on("AWS_SKIP_SIGNATURE"):
        return {**config, "skip_signature": True}
    if has_own_credentials():
        return config
    if not profile.keys and (endpoint or not machine_is_of("Amazon")):
        raise _no_credentials(bucket, profile)
    return {**config, **profile.keys}


def _endpoint(settings: ObjectSettings, profile: Profile) -> str:
    """The address of the server; empty = Amazon's own."""
    named = ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "AWS_ENDPOINT")
    found = settings.endpoint or first_of(*named) or profile.endpoint
    ObjectSettings(endpoint=found)  # refuses a password in it
    return found


def _no_credentials(bucket: str, profile: Profile) -> PlaceError:
    why = f"; profile {profile.name!r} uses {profile.unread}, which is not read here"
    export = "`aws configure export-credentials --format env` prints them for such a profile."
    return no_credentials(
        f"s3://{bucket}",
        CREDENTIALS,
        export if profile.unread else PUBLIC,
        why if profile.unread else "",
    )
