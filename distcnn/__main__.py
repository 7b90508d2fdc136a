"""``python -m distcnn``, and the ``distcnn`` command.

Signals are taken care of before anything else is imported: Ctrl-C may come at any moment.
"""

import os
import sys

from distcnn import stopping


def main() -> None:
    """Run the command line."""
    _open_streams()
    stopping.install()
    from distcnn import cli

    cli.main()


def _open_streams() -> None:
    # Where the caller has closed one (``2>&-``), Python has None, on which libraries fail, and the
    # next file that is opened gets its number, and with it whatever is written to that number.
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, mode))  # noqa: PTH123, SIM115 - closed at exit


if __name__ == "__main__":
    main()
