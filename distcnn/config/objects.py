"""Settings of object stores: how to reach one, never who one is."""

from typing import Any

from pydantic import Field, model_validator

from distcnn.config.base import Frozen
from distcnn.config.secrets import holds_secret
from distcnn.errors import ConfigError, UsageError
from distcnn.location import ObjectSettings


class ObjectsConfig(Frozen):
    """How ``s3://``, ``gs://`` and ``az://`` places are reached.

    Credentials are no setting: they come from the environment (``AWS_*``, ``GOOGLE_*``,
    ``AZURE_*``) or the usual files (``~/.aws``) of each machine. Workers are told these settings
    with each address.
    """

    endpoint: str = ""
    """Address of the server, ``https://host:port``; empty = ``AWS_ENDPOINT_URL``, that of
    ``~/.aws/config``, or the provider's own."""
    region: str = ""
    """Region of the bucket; empty = ``AWS_REGION``, that of ``~/.aws/config``, or us-east-1."""
    allow_http: bool = False
    """Take an endpoint without encryption; so does ``AWS_ALLOW_HTTP=true``."""
    anonymous: bool = False
    """Ask without credentials, for public buckets."""
    retries: int = Field(20, ge=0)
    """Times a request is sent again after a lost connection, a timeout or an overloaded server;
    20 take 20 to 90 s, since the pauses between them are random."""
    retry_seconds: float = Field(120.0, ge=0, le=300)
    """Time after which a request is not sent again [s]."""
    timeout_seconds: float = Field(60.0, gt=0)
    """Longest wait for one request, in which a whole shard is sent [s]."""
    concurrency: int = Field(16, ge=1)
    """Requests at a time of one process; more hide a longer way to the store."""

    @model_validator(mode="before")
    @classmethod
    def _holds_no_secret(cls, value: Any) -> Any:
        for key in value if isinstance(value, dict) else ():
            if holds_secret(str(key)):
                # Not a ValueError, which would be shown with what was given.
                raise ConfigError(
                    f"objects.{key} is given",
                    expected="credentials in the environment (AWS_*, GOOGLE_*, AZURE_*) or in "
                    "the usual files (~/.aws), never in a configuration",
                    cure="Remove it, and renew what others may have read.",
                )
        return value

    @model_validator(mode="after")
    def _can_be_used(self) -> "ObjectsConfig":
        try:
            assert self.settings
        except UsageError as error:
            raise ConfigError(f"objects: {error.problem}", expected=error.expected) from None
        return self

    @property
    def settings(self) -> ObjectSettings:
        """As places take them."""
        return ObjectSettings(**self.model_dump())
