"""Finished: a package that is there already, if it is the one that is asked for."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from distcnn.errors import FingerprintMismatch


def check_fingerprint(
    path: Path, found: Mapping[str, Any], asked: Mapping[str, Any], verb: str
) -> None:
    """Compare the fingerprint of a package with that of what is asked for.

    Parameters
    ----------
    verb : what one does to get it again: train, distil.

    Raises
    ------
    FingerprintMismatch : they differ; names the first difference.
    """
    for key, value in json.loads(json.dumps(asked)).items():
        if found.get(key) != value:
            raise FingerprintMismatch(
                f"{path} was made with {key} = {str(found.get(key))[:60]}",
                expected=f"{key} = {str(value)[:60]}, as asked now",
                cure=f"Give another path, or remove this package to {verb} again.",
            )
