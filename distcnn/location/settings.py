"""Settings of object stores: how to reach one. Never who one is: see ``credentials``."""

from dataclasses import dataclass, fields
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit

from distcnn.errors import UsageError


@dataclass(frozen=True)
class ObjectSettings:
    """How to reach an object store; the configuration section ``objects`` explains each."""

    endpoint: str = ""
    region: str = ""
    allow_http: bool = False
    anonymous: bool = False
    retries: int = 20
    retry_seconds: float = 120.0
    timeout_seconds: float = 60.0
    concurrency: int = 16

    def __post_init__(self) -> None:
        parts = urlsplit(self.endpoint)
        if parts.username is not None or parts.password is not None:
            # Not repeated: it would put the secret into a log.
            raise UsageError(
                f"the endpoint of {parts.hostname} holds a user or a password",
                expected="https://host[:port]",
                cure="Credentials come from the environment or the usual files only.",
            )
        if self.endpoint and (parts.scheme not in {"http", "https"} or not parts.hostname):
            raise UsageError(
                f"the endpoint {self.endpoint!r} is no address", expected="https://host[:port]"
            )

    def to_query(self) -> str:
        """What is not as by default, as the query of an address: ``region=x&retries=3``."""
        default = ObjectSettings()
        names = [f.name for f in fields(self)]
        changed = {n: getattr(self, n) for n in names if getattr(self, n) != getattr(default, n)}
        return urlencode(changed)

    @classmethod
    def from_query(cls, query: str, address: str) -> "ObjectSettings":
        """The inverse of ``to_query``.

        Raises
        ------
        UsageError : the query says something else; of what it says, only names are told.
        """
        default, given = cls(), dict(parse_qsl(query, keep_blank_values=True))
        known = {f.name: type(getattr(default, f.name)) for f in fields(cls)}
        try:
            return cls(**{name: _value(known[name], text) for name, text in given.items()})
        except (KeyError, ValueError):
            raise UsageError(
                f"{address} has a query ({', '.join(given) or 'an empty one'})",
                expected=f"none, or settings of the section objects: {', '.join(known)}",
                cure="A name with a question mark cannot be used.",
            ) from None


def _value(kind: type, text: str) -> Any:
    return text == "True" if kind is bool else kind(text)
