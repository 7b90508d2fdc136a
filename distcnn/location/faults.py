"""What goes wrong in an object store, in words: one translation of the library's exceptions.

Answers of servers are not repeated: that of a wrong signature quotes the key and what was signed.
Only the code of the answer (``NoSuchBucket``) and its number (403) are.
"""

import errno
import re
from collections.abc import Iterator
from contextlib import contextmanager

from distcnn.errors import PlaceError, PlaceUnreachable

_CODE = re.compile(r"<Code>(\w+)</Code>")
_STATUS = re.compile(r"status code: (\d{3})")
_SENDING = re.compile(r"error sending request|kind: (Connect|Timeout|Request|Interrupted|Decode)")
_DENIED = "Check the credentials (AWS_*, ~/.aws, GOOGLE_*, AZURE_*) and what they may do there."
_CURES = {
    "NoSuchBucket": ("there is no such bucket", "Make it, or check its name and the endpoint."),
    "ContainerNotFound": ("there is no such container", "Make it, or check its name."),
    "InvalidBucketName": ("no bucket can have this name", "Check its name."),
    "InvalidAccessKeyId": ("the access key is unknown there", _DENIED),
    "SignatureDoesNotMatch": ("the secret key does not fit the access key", _DENIED),
    "ExpiredToken": ("the session token has expired", "Renew it, then run the command again."),
    "AccessDenied": ("access is denied", _DENIED),
    "RequestTimeTooSkewed": ("the clocks differ", "Set the clock of this machine."),
    "PermanentRedirect": ("the bucket is in another region", "Give objects.region or AWS_REGION."),
    "AuthorizationHeaderMalformed": (
        "the region is another one there",
        "Give objects.region or AWS_REGION.",
    ),
    "QuotaExceeded": ("the quota is used up", "Free space, then run the command again."),
}
_BY_STATUS = {
    "301": "PermanentRedirect",
    "307": "PermanentRedirect",
    "401": "AccessDenied",
    "403": "AccessDenied",
    "507": "QuotaExceeded",
}
_AGAIN = "The same command goes on where it stopped. objects.retries and objects.retry_seconds"


@contextmanager
def faults_of(address: str) -> Iterator[None]:
    """Let what the library raises in the block be of the exceptions that a ``Location`` raises.

    Raises
    ------
    FileNotFoundError : the object is not there.
    PlaceError : access is denied, the bucket is missing, and whatever else will not pass.
    PlaceUnreachable : the connection was lost or the server is overloaded, after all retries.
    """
    try:
        yield
    except (PlaceError, KeyboardInterrupt):
        raise
    except Exception as error:
        raise translated(error, address) from None


def translated(error: Exception, address: str) -> Exception:
    """The exception to raise in place of one of the library's."""
    text = str(error)
    code, status = _first(_CODE, text), _first(_STATUS, text)
    known = code if code in _CURES else _BY_STATUS.get(status, "")
    if "redirect without LOCATION" in text:
        known = "PermanentRedirect"
    if not known and type(error).__name__ in {"PermissionDeniedError", "UnauthenticatedError"}:
        known = "AccessDenied"
    if known:
        problem, cure = _CURES[known]
        return PlaceError(f"{address}: {problem} ({code or status or known})", cure=cure)
    if isinstance(error, FileNotFoundError):
        return FileNotFoundError(errno.ENOENT, "there is no such object", address)
    if code in {"SlowDown", "ServiceUnavailable", "TooManyRequests"} or status in {"429", "503"}:
        return PlaceUnreachable(
            f"{address}: the store asks for fewer requests ({code or status})",
            cure=f"{_AGAIN} bound how long one is tried; fewer workers ask for less.",
        )
    if _SENDING.search(text) or status.startswith("5"):
        return PlaceUnreachable(
            f"{address} cannot be reached ({_kind(text, status)})",
            cure=f"Check the network and the endpoint. {_AGAIN} bound how long one is tried.",
        )
    what = " ".join(part for part in (type(error).__name__, code, status) if part)
    return PlaceError(
        f"{address} cannot be used ({what})",
        cure="Check its address, the endpoint and the region; `distcnn doctor` shows versions.",
    )


def _first(pattern: re.Pattern[str], text: str) -> str:
    found = pattern.search(text)
    return found[1] if found else ""


def _kind(text: str, status: str) -> str:
    """``Connect``, ``Timeout`` or the number of the server's answer."""
    found = re.search(r"kind: (\w+)", text)
    return status or (found[1].lower() if found else "connection lost")
