"""Commands that judge predictions."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from distcnn.cli.application import DONE, ERROR, app, show
from distcnn.cli.options import (
    Baselines,
    Cluster,
    Conf,
    Moved,
    Place,
    Sets,
    Truth,
    configure,
    listening,
    names_in,
)
from distcnn.errors import UsageError


@app.command()
def compare(
    survey: Place,
    out: Annotated[str, typer.Argument(help="Table to write: baselines.parquet.")],
    package: Annotated[str, typer.Option(help="Its split and its labels are used.")],
    methods: Annotated[
        str | None,
        typer.Option(help="Which methods: cannon,payne,...; a wrong name lists them."),
    ] = None,
    conf: Conf = None,
    sets: Sets = None,
) -> None:
    """Fit other methods on a package's split, and judge them and the package on the same stars."""
    from distcnn import pipeline

    config = configure(conf, sets)
    names = names_in("--methods", methods)
    with listening(config) as listener:
        text = pipeline.compare_baselines(
            survey, out, package, listener, config=config, methods=names
        )
    show(text)


@app.command()
def report(
    predictions: Place,
    report_dir: Place,
    survey: Moved = None,
    package: Moved = None,
    truth: Truth = None,
    baselines: Baselines = None,
    checks: Annotated[str | None, typer.Option(help="Folder of `distcnn check`.")] = None,
    tsne: Annotated[str | None, typer.Option(help="Folder of `distcnn map tsne`.")] = None,
    galaxy: Annotated[str | None, typer.Option(help="Folder of `distcnn map galaxy`.")] = None,
    sections: Annotated[
        str | None, typer.Option(help="Only these: summary,trust,errors; a wrong name lists them.")
    ] = None,
    conf: Conf = None,
    sets: Sets = None,
) -> None:
    """Write one self-contained page of figures and tables, with all of them as files beside it."""
    from distcnn import pipeline

    if sections is not None:
        names = names_in("--sections", sections)
        sets = [*(sets or []), f"report.sections={json.dumps(names)}"]
    config = configure(conf, sets)
    with listening(config) as listener:
        pipeline.write_report(
            predictions,
            report_dir,
            config,
            listener,
            survey=survey,
            package=package,
            truth=truth,
            baselines=baselines,
            checks=checks,
            tsne=tsne,
            galaxy=galaxy,
        )


@app.command()
def check(
    name: Annotated[
        str, typer.Argument(help="A check, several with commas, or all; a wrong name lists them.")
    ],
    package: Annotated[str | None, typer.Argument(show_default=False)] = None,
    survey: Annotated[str | None, typer.Argument(show_default=False)] = None,
    out: Annotated[
        Path | None, typer.Argument(show_default=False, help="Folder of the answers.")
    ] = None,
    predictions: Annotated[
        str | None, typer.Option(help="Predictions of both, for checks of finished ones.")
    ] = None,
    truth: Truth = None,
    baselines: Baselines = None,
    conf: Conf = None,
    sets: Sets = None,
    cluster: Cluster = None,
) -> None:
    """Put science checks to a package on a survey: verdict, table and figure of each; exit code 1
    if one fails.
    """
    from distcnn import pipeline

    if package is None or survey is None or out is None:
        raise UsageError(
            f"distcnn check {name} without package, survey and folder",
            expected="distcnn check NAME PACKAGE SURVEY OUT",
            cure="Finished predictions are checked by quoted-errors,network-gain with "
            "--predictions PREDICTIONS.",
        )
    config = configure(conf, sets, cluster)
    with listening(config) as listener:
        checked = pipeline.check_package(
            package,
            survey,
            out,
            config,
            listener,
            names=names_in("NAME", name),
            predictions=predictions,
            truth=truth,
            baselines=baselines,
        )
    show(checked)
    raise typer.Exit(ERROR if checked.failed else DONE)
