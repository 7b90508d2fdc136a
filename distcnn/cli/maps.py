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
