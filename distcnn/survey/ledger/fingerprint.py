"""Fingerprints: what must stay the same for a run to go on, and how a difference is told."""

import json
import re
from collections.abc import Mapping
from typing import Any

from distcnn.errors import FingerprintMismatch
from distcnn.formatting import dotted

MAX_DIFFERENCES_NAMED = 3
_SHA256 = re.compile("[0-9a-f]{64}")
_DIGESTS = {
    "file names": "another list of archive files",
    "inputs": "other contents of the archive files",
    "data": "other labelled stars, or other values of them",
    "unlabelled": "other stars to learn from",
    "survey": "another survey",
    "package": "another package",
    "teacher": "another ensemble",
    "split.groups": "another table of groups",
    "spec.wavelength_digest": "another wavelength grid",
}
"""What a digest in a fingerprint stands for: by itself it tells nobody what differs."""
CURE = "Use another output path, or remove this one to begin again."


def check_fingerprint(
    found: Mapping[str, Any], asked: Mapping[str, Any], *, begun: str, cure: str = CURE
) -> None:
    """Compare the fingerprint of a product with that of what is asked for.

    Parameters
    ----------
    begun : beginning of the message: ``"predictions.zarr was begun"``.

    Raises
    ------
    FingerprintMismatch : they differ; names what differs, with both values.
    """
    before, now = dict(dotted(found)), dict(dotted(asked))
    other = [key for key in sorted({*before, *now}) if before.get(key) != now.get(key)]
    if not other:
        return
    shown = other[:MAX_DIFFERENCES_NAMED]
    more = f" (and {len(other) - len(shown)} more)" if len(other) > len(shown) else ""
    raise FingerprintMismatch(
        f"{begun} with " + ", ".join(_told(key, before.get(key)) for key in shown) + more,
        expected=", ".join(f"{key} = {_short(now.get(key))}" for key in shown) + ", as asked now",
        cure=cure,
    )


def _told(key: str, value: Any) -> str:
    text = f"{key} = {_short(value)}"
    return f"{_DIGESTS[key]} ({text})" if key in _DIGESTS else text


def _short(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value)
    if _SHA256.fullmatch(text):
        return f"{text[:8]}..."
    return text if len(text) <= 60 else f"{text[:57]}..."
