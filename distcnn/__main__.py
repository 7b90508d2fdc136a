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
    _check_folder()
    from distcnn import cli

    cli.main()


def _open_streams() -> None:
    # Where the caller has closed one (``2>&-``), Python has None, on which libraries fail, and the
    # next file that is opened gets its number, and with it whatever is written to that number.
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, mode))  # noqa: PTH123, SIM115 - closed at exit


def _check_folder() -> None:
    # Libraries of compiled code end the process with a word of their own.
    try:
        os.getcwd()  # noqa: PTH109 - next to nothing is imported here
    except OSError as error:
        sys.stderr.write(f"distcnn: the working directory is gone ({error.strerror}).\n")
        sys.exit(2)


if __name__ == "__main__":
    main()
