"""Credentials of S3 in the files of the AWS tools.

The library reads the environment, web identities (Kubernetes), container and instance roles by
itself; what is read here are ``~/.aws/credentials`` and ``~/.aws/config``, which it does not know.
"""

import configparser
import os
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from distcnn.errors import PlaceError

_KEYS = {
    "aws_access_key_id": "access_key_id",
    "aws_secret_access_key": "secret_access_key",
    "aws_session_token": "session_token",
}
_ROLES = (
    "AWS_WEB_IDENTITY_TOKEN_FILE",
    "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
    "AWS_CONTAINER_CREDENTIALS_FULL_URI",
)
"""Variables with which a cluster gives a role to its containers."""
_NOT_READ = ("credential_process", "sso_session", "sso_start_url", "source_profile", "role_arn")


@dataclass(frozen=True)
class Profile:
    """A profile of the AWS tools; ``keys`` are hidden wherever this is shown."""

    name: str
    region: str = ""
    endpoint: str = ""
    keys: Mapping[str, str] = field(default_factory=dict, repr=False)
    unread: str = ""


def aws_profile() -> Profile:
    """What the files say of the profile that ``AWS_PROFILE`` names (``default``).

    Raises
    ------
    PlaceError : a file cannot be read, or there is no such profile.
    """
    name = os.environ.get("AWS_PROFILE", "default")
    found: dict[str, str] = {}
    for variable, file, section in (
        ("AWS_CONFIG_FILE", "config", name if name == "default" else f"profile {name}"),
        ("AWS_SHARED_CREDENTIALS_FILE", "credentials", name),
    ):
        found |= _section(Path(os.environ.get(variable, f"~/.aws/{file}")), section)
    if not found and "AWS_PROFILE" in os.environ:
        raise PlaceError(
            f"there is no profile {name!r} (AWS_PROFILE) in ~/.aws",
            expected="a section of ~/.aws/credentials or ~/.aws/config",
        )
    return Profile(
        name,
        found.get("region", ""),
        found.get("endpoint_url", ""),
        {ours: found[theirs] for theirs, ours in _KEYS.items() if theirs in found},
        next((key for key in _NOT_READ if key in found), ""),
    )


def _section(path: Path, name: str) -> dict[str, str]:
    parser = configparser.RawConfigParser()
    try:
        with suppress(FileNotFoundError, RuntimeError):  # RuntimeError: there is no home
            parser.read_string(path.expanduser().read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, configparser.Error) as error:
        # Its text may quote the line, and with it a key.
        raise PlaceError(f"{path} cannot be read ({type(error).__name__})") from None
    return dict(parser[name]) if parser.has_section(name) else {}


def has_own_credentials() -> bool:
    """Whether the library will find some without a file: in the environment, or by a role."""
    return "AWS_ACCESS_KEY_ID" in os.environ or any(name in os.environ for name in _ROLES)
