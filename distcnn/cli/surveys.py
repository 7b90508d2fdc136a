"""Commands that make surveys."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from distcnn.cli.application import app, show
from distcnn.cli.options import Cluster, Conf, Restart, Sets, code_of, configure, listening
from distcnn.errors import UsageError


@app.command()
def simulate(
    out_dir: Path,
    stars: Annotated[int, typer.Option(min=1, help="Number of stars.")],
    seed: Annotated[int, typer.Option(min=0, help="Same seed, same files.")] = 1,
    conf: Conf = None,
    sets: Sets = None,
    cluster: Cluster = None,
    restart: Restart = False,
) -> None:
    """Write a survey with known truth as archive files (Gaia bulk layout, APOGEE-like labels)."""
    from distcnn import pipeline

    config = configure(conf, sets, cluster)
    with listening(config) as listener:
        pipeline.simulate_archive(out_dir, stars, seed, config, listener, restart=restart)


@app.command()
def ingest(
    archive_dir: Annotated[Path, typer.Argument(help="Folder of archive files; a file of --try.")],
    survey: Annotated[
        str | None, typer.Argument(help="The store to make; a file of --try.")
    ] = None,
    files: Annotated[list[Path] | None, typer.Argument(help="More files of --try.")] = None,
    conf: Conf = None,
    sets: Sets = None,
    cluster: Cluster = None,
    restart: Restart = False,
    look: Annotated[
        bool, typer.Option("--try", help="Show what becomes of files of spectra; write no survey.")
    ] = False,
    png: Annotated[
        Path | None, typer.Option(metavar="FOLDER", help="With --try: draw the files there.")
    ] = None,
) -> None:
    """Turn archive files into one survey store (sharded Zarr); bad rows are listed, not lost.

    With --try FILE... nothing is stored: it shows the stars, wavelengths and masks of some files.
    """
    from distcnn import pipeline

    config = configure(conf, sets, cluster)
    if look:
        paths = [archive_dir, *([Path(survey)] if survey else []), *(files or [])]
        previews = pipeline.try_files(paths, config, png)
        show(*pipeline.describe_previews(previews, config))
        raise typer.Exit(code_of(sum(preview.put_aside for preview in previews)))
    _check_ingest(survey, files, png)
    assert survey is not None
    with listening(config) as listener:
        done = pipeline.ingest_archive(archive_dir, survey, config, listener, restart=restart)
    raise typer.Exit(code_of(done.quarantined + done.unusable_files))


def _check_ingest(survey: str | None, files: list[Path] | None, png: Path | None) -> None:
    if survey is None or files or png is not None:
        met = (
            "no survey" if survey is None else "--png" if png else f"{len(files or [])} more paths"
        )
        raise UsageError(
            f"distcnn ingest with {met}",
            expected="ARCHIVE_DIR SURVEY, or --try and some files",
        )


@app.command()
def conf(
    guess: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Print a first configuration for this file of spectra."),
    ] = None,
) -> None:
    """List the configurations that come along, or write a first one for an unknown file."""
    from distcnn import pipeline

    show(pipeline.list_configurations() if guess is None else pipeline.guess_configuration(guess))
