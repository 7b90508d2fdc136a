"""The application: errors become one line and an exit code."""

from __future__ import annotations

import errno
import os
import sys
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from distcnn import __version__, stopping
from distcnn.errors import DistcnnError, UsageError

DONE, ERROR, USAGE, QUARANTINED, INTERRUPTED = 0, 1, 2, 3, 130


class _Guard(TyperGroup):
    """Turns every clear error into one line and an exit code."""

    def invoke(self, ctx: Any) -> Any:
        try:
            with stopping.ending_in_order():
                _check_words([*getattr(ctx, "_protected_args", ()), *ctx.args])
                return super().invoke(ctx)
        except UsageError as error:
            code, text = USAGE, str(error)
        except OSError as error:
            code, text = ERROR, _of_the_disk(error)
        except DistcnnError as error:
            code, text = ERROR, str(error)
        except KeyboardInterrupt:
            code, text = INTERRUPTED, f"stopped. {stopping.CURE}"
        print(f"distcnn: {text}", file=sys.stderr)
        raise typer.Exit(code)


def _check_words(words: list[str]) -> None:
    """Refuse an empty word, which as a path would be the folder that one is in, and an option that
    is given twice, of which all but the last would be forgotten.
    """
    options = [word.partition("=")[0] for word in words if word.startswith("--") and word[2:]]
    twice = [name for name in options if name != "--set" and options.count(name) > 1]
    if twice:
        raise UsageError(f"{twice[0]} is given twice", expected="every option but --set once")
    if any(not word.strip() for word in words):
        raise UsageError(
            "an argument is empty",
            expected="a path, or the value of an option",
            cure="A variable of the shell may have no value; leave out what is not meant.",
        )


def _of_the_disk(error: OSError) -> str:
    if error.errno not in {errno.ENOSPC, errno.EDQUOT}:
        return str(error)
    where = f" where {error.filename} is written" if error.filename else ""
    return f"the disk is full{where} ({error.strerror}). Free some space and run the command again."


def show(*lines: object) -> None:
    """Print what a command has found; the reader of a pipe, such as head, may have seen enough.

    Printed at once, for what goes wrong as the interpreter ends is told by nobody but Python.
    """
    try:
        print(*lines, sep="\n", flush=True)
    except OSError as error:
        with open(os.devnull, "wb") as nowhere:  # noqa: PTH123
            os.dup2(nowhere.fileno(), sys.stdout.fileno())
        if not isinstance(error, BrokenPipeError):
            raise


app = typer.Typer(
    cls=_Guard,
    name="distcnn",
    help="Stellar labels for millions of spectra: archive files -> survey -> package -> "
    "predictions -> catalogue and report.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(asked: bool) -> None:
    if asked:
        show(f"distcnn {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print version.")
    ] = False,
) -> None:
    pass
