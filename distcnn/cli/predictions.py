"""Commands that make and store predictions."""

from __future__ import annotations

import math
import os
from typing import TYPE_CHECKING, Annotated

import typer

from distcnn.cli.application import app, show
from distcnn.cli.options import (
    Baselines,
    Cluster,
    Conf,
    Moved,
    Place,
    Restart,
    Sets,
    code_of,
    configure,
    listening,
)
from distcnn.errors import UsageError

if TYPE_CHECKING:
    from distcnn.survey import Share


@app.command()
def predict(
    package: Place,
    survey: Place,
    predictions: Place,
    conf: Conf = None,
    sets: Sets = None,
    cluster: Cluster = None,
    engine: Annotated[
        str | None,
        typer.Option(help="Use this engine instead of the fastest; `distcnn doctor PACKAGE`."),
    ] = None,
    array: Annotated[
        str | None,
        typer.Option(
            metavar="i/N",
            help="Element i of a job array of N: compute its share alone, without a cluster; "
            "'slurm' takes i and N from the variables of a Slurm array.",
        ),
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the plan only.")] = False,
    restart: Restart = False,
) -> None:
    """Compute labels, calibrated errors and flags for every star; resumes where it stopped."""
    from distcnn import pipeline

    chosen = [f"predict.engine={engine}"] if engine else []
    share = _share(array, restart)
    if share is not None:
        cluster = cluster or "serial"
    config = configure(conf, [*(sets or []), *chosen], cluster)
    if dry_run:
        plan = pipeline.plan_predictions(package, survey, predictions, config, share=share)
        show(plan)
        plan.check()
        return
    if share is not None:
        with listening(config) as listener:
            part = pipeline.predict_share(
                package, survey, predictions, config, listener, share=share
            )
        raise typer.Exit(code_of(part.failed))
    with listening(config) as listener:
        done = pipeline.predict_survey(
            package, survey, predictions, config, listener, restart=restart
        )
    raise typer.Exit(code_of(done.failed))


def _share(array: str | None, restart: bool) -> Share | None:
    """The share of a job array's element that ``--array`` names, if it is given."""
    if array is None:
        return None
    from distcnn.survey import Share

    if restart:
        raise UsageError(
            "--array and --restart",
            expected="one of them: every element would remove the work of the others",
            cure="Remove the predictions before the array is submitted.",
        )
    return Share.of_slurm(os.environ) if array == "slurm" else Share.parse(array)


@app.command()
def plan(
    stars: Annotated[float, typer.Option(help="Number of stars; 250e6 is fine.")],
    pixels: Annotated[int, typer.Option(help="Pixels of a spectrum.")] = 800,
    members: Annotated[int, typer.Option(help="Networks in the ensemble.")] = 28,
    devices: Annotated[
        str, typer.Option(help="Number and kind: 8xH200; or a cluster: slurm, my.yaml.")
    ] = "2xcpu-core-avx2",
) -> None:
    """Tell how long predicting a survey of any size would take, from measured rates."""
    from distcnn import pipeline

    if not math.isfinite(stars) or stars != int(stars):
        raise UsageError(f"--stars {stars}", expected="a whole number, such as 250e6")
    show(pipeline.forecast_run(int(stars), pixels, members, devices))


@app.command()
def verify(
    predictions: Place,
    package: Moved = None,
    survey: Moved = None,
    conf: Conf = None,
    sets: Sets = None,
) -> None:
    """Re-read ledger, checksums and counts; compute a sample again."""
    from distcnn import pipeline

    config = configure(conf, sets)
    with listening(config) as listener:
        found = pipeline.verify_predictions(
            predictions, config, listener, package=package, survey=survey
        )
    show(found)


@app.command()
def export(
    predictions: Place,
    catalogue: Place,
    columns: Annotated[
        str | None, typer.Option(help="Only these: source_id,ra,dec,teff*,flags.")
    ] = None,
    where: Annotated[
        str | None, typer.Option(help='Only rows like this: "flags == 0 and teff_error < 100".')
    ] = None,
    covariance: Annotated[
        str | None,
        typer.Option(
            metavar="FORM",
            help="Of the errors of two labels: none, columns (a correlation for each pair; the "
            "default up to five labels) or array (one matrix for each star).",
        ),
    ] = None,
    margin: Annotated[
        float | None,
        typer.Option(
            min=0,
            metavar="ARCSECONDS",
            help="HATS: write stars so near to a partition beside it once more, for cross-matches.",
        ),
    ] = None,
    baselines: Baselines = None,
    conf: Conf = None,
    sets: Sets = None,
    cluster: Cluster = None,
) -> None:
    """Write the catalogue: .fits, .parquet, .vot, .hats or .cds (for VizieR), all described.

    HATS, partitioned on the sky, is written by all workers; the same command again resumes.
    """
    from distcnn import pipeline

    config = configure(conf, sets, cluster)
    with listening(config) as listener:
        pipeline.export_catalogue(
            predictions,
            catalogue,
            listener,
            config=config,
            columns=columns,
            where=where,
            covariance=covariance,
            margin=margin,
            baselines=baselines,
        )
