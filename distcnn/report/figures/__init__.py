"""Figures of the report, one file per subject."""

import logging

from distcnn.errors import ConfigError

# It tells where it keeps a cache of its own, and of keys that it does not know; both are of no
# consequence here, since figures have a style of their own.
logging.getLogger("matplotlib").setLevel(logging.ERROR)
try:
    import matplotlib as _  # noqa: F401
except UnicodeDecodeError as error:
    raise ConfigError(
        f"matplotlib cannot read the user's file matplotlibrc ({error})",
        expected="a text in UTF-8",
        cure="`python -c 'import matplotlib'` names the file: save it in that encoding.",
    ) from None
