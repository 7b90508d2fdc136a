"""Names of settings and variables that hold secrets: one list for all that must not have them."""

import re

_SECRET = re.compile(
    r"secret|passw(or)?d|passphrase|token|credential|signature|connection_?string"
    r"|(^|_)(sas|keys?)(_|$)|(access|account|api|storage)_?key"
)
_PLACE = re.compile(r"_(file|path|ur[il])$|^google_application_credentials$")
"""Names that say where a secret lies, not what it is."""


def holds_secret(name: str) -> bool:
    """Whether what is called so is a secret: ``AZURE_STORAGE_SAS_TOKEN``, ``secretAccessKey``."""
    words = re.sub(r"(?<=[a-z])(?=[A-Z])", "_", name).lower()
    words = re.sub(r"[^a-z0-9]+", "_", words)
    return bool(_SECRET.search(words)) and not _PLACE.search(words)
