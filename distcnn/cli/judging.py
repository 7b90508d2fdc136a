"""Commands that judge predictions."""

from __future__ import annotations

from typing import Annotated

import typer

from distcnn.cli.application import DONE, ERROR, app, show
from distcnn.cli.options import Baselines, Conf, Moved, Place, Sets, Truth, configure, listening


@app.command()
def compare(
    survey: Place,
    out: Annotated[str, typer.Argument(help="Table to write: baselines.parquet.")],
    package: Annotated[str, typer.Option(help="Its split and its labels are used.")],
    conf: Conf = None,
    sets: Sets = None,
) -> None:
    """Fit simple methods on a package's split, for the report to show beside the network."""
    from distcnn import pipeline

    config = configure(conf, sets)
    with listening(config) as listener:
        pipeline.compare_baselines(survey, out, package, listener, config=config)


@app.command()
def report(
    predictions: Place,
    report_dir: Place,
    survey: Moved = None,
    package: Moved = None,
    truth: Truth = None,
    baselines: Baselines = None,
    conf: Conf = None,
    sets: Sets = None,
) -> None:
    """Write one self-contained page of figures and tables, and its numbers as JSON."""
    from distcnn import pipeline

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
        )


@app.command()
def check(
    predictions: Place,
    names: Annotated[
        list[str] | None, typer.Argument(help="Which checks; none = all, a wrong name lists them.")
    ] = None,
    survey: Moved = None,
    package: Moved = None,
    truth: Truth = None,
    baselines: Baselines = None,
    conf: Conf = None,
    sets: Sets = None,
) -> None:
    """Put science checks to predictions: a verdict and its numbers; exit code 1 if one fails."""
    from distcnn import pipeline

    config = configure(conf, sets)
    with listening(config) as listener:
        checked = pipeline.check_predictions(
            predictions,
            names or [],
            config,
            listener,
            survey=survey,
            package=package,
            truth=truth,
            baselines=baselines,
        )
    show(checked)
    raise typer.Exit(ERROR if checked.failed else DONE)
