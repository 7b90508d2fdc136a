"""The command line: one thin command per function of the pipeline.

Nothing heavy is imported before a command runs, so that ``distcnn --help`` answers at once.
Exit codes: 0 done, 1 a clear error, 2 wrong usage, 3 finished with stars or files quarantined,
130 stopped by Ctrl-C (143 by SIGTERM, 129 by SIGHUP).
"""

from __future__ import annotations

import sys
from io import TextIOWrapper

from distcnn import stopping

# Commands are listed by --help in the order in which their modules are imported.
from distcnn.cli import surveys, packages, predictions, judging, maps, looking  # noqa: F401  isort: skip
from distcnn.cli.application import app as app


def main() -> None:
    """Run the command line in this process, and end it."""
    stopping.install()
    # A terminal, a pipe or a name that cannot show a letter shows its number instead.
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    app()
