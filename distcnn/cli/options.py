"""Options that commands share, and what they open."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from distcnn.cli.application import DONE, QUARANTINED
from distcnn.clusters.registry import backends_help
from distcnn.errors import UsageError

if TYPE_CHECKING:
    from distcnn.config import Config
    from distcnn.events import Listener


Conf = Annotated[
    Path | None,
    typer.Option(help="YAML configuration, or the name of one that comes along (demo)."),
]
Sets = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Override one value: train.members=4."),
]
Restart = Annotated[
    bool,
    typer.Option("--restart", help="Remove first what an earlier run has left unfinished there."),
]
Place = Annotated[str, typer.Argument(help="A path, or s3://, gs://, az://, file:// address.")]
Moved = Annotated[str | None, typer.Option(help="If it was moved.")]
Truth = Annotated[str | None, typer.Option(help="truth.parquet of a simulation.")]
Baselines = Annotated[str | None, typer.Option(help="Table of `distcnn compare`.")]
Cluster = Annotated[
    str | None,
    typer.Option(
        metavar="NAME",
        help=f"Where the work runs: one of the following, or a YAML file with a section cluster. "
        f"{backends_help()}.",
    ),
]


def names_in(option: str, text: str | None) -> list[str]:
    """Names with commas between them; none if the option is not given.

    Raises
    ------
    UsageError : it is given, and names nothing; which is not to mean everything.
    """
    given = [name.strip() for name in (text or "").split(",") if name.strip()]
    names = list(dict.fromkeys(given))
    if text is not None and not names:
        raise UsageError(f"{option} {text!r} names nothing", expected="names with commas between")
    return names


def configure(conf: Path | None, sets: list[str] | None, cluster: str | None = None) -> Config:
    """The configuration of a command: its file, single values and cluster."""
    from distcnn.config import load_config

    return load_config(conf, sets or [], cluster)


@contextmanager
def listening(config: Config) -> Iterator[Listener]:
    """The console and the listeners of the section ``monitor``."""
    from distcnn.monitor import open_listener

    with open_listener(config.monitor) as listener:
        yield listener


def code_of(quarantined: int) -> int:
    """Exit code of a command that has set some stars or files aside."""
    return QUARANTINED if quarantined else DONE
