"""What the environment and this machine say of object stores, of whatever kind."""

import os
from contextlib import suppress
from pathlib import Path

from distcnn.errors import PlaceError
from distcnn.location.settings import ObjectSettings


def first_of(*names: str) -> str:
    """The value of the first of these variables that has one; else empty."""
    return next((os.environ[name] for name in names if os.environ.get(name)), "")


def is_on(name: str) -> bool:
    """Whether a variable says yes."""
    return os.environ.get(name, "").lower() in {"1", "true", "yes", "on"}


def refuse_unencrypted(endpoint: str, settings: ObjectSettings, variable: str) -> None:
    """Refuse an endpoint without encryption, unless that was meant.

    Parameters
    ----------
    variable : the one that says so, ``AWS_ALLOW_HTTP``.

    Raises
    ------
    PlaceError : ``endpoint`` is not encrypted, and nobody has said that it may be.
    """
    if endpoint.startswith("http://") and not (settings.allow_http or is_on(variable)):
        raise PlaceError(
            f"the endpoint {endpoint} is not encrypted",
            expected="https",
            cure=f"If that is meant, set {variable}=true or objects.allow_http=true.",
        )


def machine_is_of(vendor: str) -> bool:
    """Whether the maker of this machine is ``vendor``, whose machines may have a role of their
    own, told by a server that nobody else has.
    """
    with suppress(OSError):
        found = Path("/sys/class/dmi/id/sys_vendor").read_text(encoding="utf-8")
        return found.startswith(vendor)
    return False


def no_credentials(url: str, expected: str, cure: str, why: str = "") -> PlaceError:
    """The error for a bucket that nothing here has credentials for."""
    return PlaceError(f"there are no credentials for {url} here{why}", expected=expected, cure=cure)


PUBLIC = "For a public bucket set objects.anonymous=true."
