"""Commands that map a whole survey."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from distcnn.cli.application import app, show
from distcnn.cli.options import Cluster, Conf, Moved, Place, Sets, configure, listening

map_app = typer.Typer(help="Maps of spectra and of the Galaxy.", no_args_is_help=True)
app.add_typer(map_app, name="map")

Out = Annotated[Path, typer.Argument(help="The folder to make.")]


@map_app.command("tsne")
def tsne(
    package: Place,
    survey: Place,
    out: Out,
    training: Annotated[
        str | None, typer.Option(help="The survey that the package was trained on, if another.")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print what it costs only.")] = False,
    conf: Conf = None,
    sets: Sets = None,
) -> None:
    """Map the spectra of a survey beside those of training: who is unlike them; resumes."""
    from distcnn import pipeline

    config = configure(conf, sets)
    if dry_run:
        show(pipeline.plan_tsne(package, survey, config, training=training))
        return
    with listening(config) as listener:
        found = pipeline.map_tsne(package, survey, out, config, listener, training=training)
    show(found)


@map_app.command("galaxy")
def galaxy(
    predictions: Place,
    out: Out,
    survey: Moved = None,
    conf: Conf = None,
    sets: Sets = None,
    cluster: Cluster = None,
) -> None:
    """Map predicted stars in the Galaxy: abundances by place, gradients, halo; resumes."""
    from distcnn import pipeline

    config = configure(conf, sets, cluster)
    with listening(config) as listener:
        found = pipeline.map_galaxy(predictions, out, config, listener, survey=survey)
    show(found)
