"""Commands that make packages."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from distcnn.cli.application import app, show
from distcnn.cli.options import Cluster, Conf, Place, Restart, Sets, configure, listening


@app.command()
def train(
    survey: Place,
    package: Place,
    conf: Conf = None,
    sets: Sets = None,
    cluster: Cluster = None,
    tensorboard: Annotated[Path | None, typer.Option(help="Folder for TensorBoard logs.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the plan only.")] = False,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on with a training, never begin one.")
    ] = False,
    restart: Restart = False,
) -> None:
    """Train an ensemble on the labelled stars; the same command again resumes."""
    from distcnn import pipeline

    if tensorboard is not None:
        # Quoted as JSON, which YAML reads as text whatever the folder's name.
        sets = [*(sets or []), f"monitor.tensorboard={json.dumps(str(tensorboard))}"]
    config = configure(conf, sets, cluster)
    if dry_run:
        show(pipeline.plan_training(survey, package, config))
        return
    with listening(config) as listener:
        pipeline.train_package(survey, package, config, listener, resume=resume, restart=restart)


@app.command()
def tune(
    survey: Place,
    study: Path,
    trials: Annotated[int | None, typer.Option(min=1, help="Trials in all.")] = None,
    conf: Conf = None,
    sets: Sets = None,
    cluster: Cluster = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the state only.")] = False,
    restart: Restart = False,
) -> None:
    """Try other settings of training; STUDY/best.yaml is the best of them; resumes."""
    from distcnn import pipeline

    sets = [*(sets or []), *([f"tune.trials={trials}"] if trials else [])]
    config = configure(conf, sets, cluster)
    if dry_run:
        show(pipeline.look_at_study(survey, study, config))
        return
    with listening(config) as listener:
        tuned = pipeline.tune_survey(survey, study, config, listener, restart=restart)
    show(tuned)
    show(f"distcnn train {survey} PACKAGE --conf {study / 'best.yaml'}")


@app.command()
def distil(
    package: Place,
    small: Place,
    survey: Annotated[str, typer.Option(help="Its stars are learned from, labelled or not.")],
    conf: Conf = None,
    sets: Sets = None,
    cluster: Cluster = None,
    restart: Restart = False,
) -> None:
    """Train one network to answer as an ensemble does, many times as fast; resumes."""
    from distcnn import pipeline

    config = configure(conf, sets, cluster)
    with listening(config) as listener:
        pipeline.distil_package(package, small, survey, config, listener, restart=restart)
    show(pipeline.describe_agreement(small, config))


package_app = typer.Typer(help="Packages that were not trained here.", no_args_is_help=True)
app.add_typer(package_app, name="package")


@package_app.command("import")
def import_(
    package: Place,
    files: Annotated[list[Path], typer.Argument(help="Keras models, one per member.")],
    survey: Annotated[
        str, typer.Option(help="Labelled stars, none of which they were trained on.")
    ],
    conf: Conf = None,
    sets: Sets = None,
) -> None:
    """Take networks of Keras (.h5, .keras) over as a package; the section imported describes them.

    Their weights stay as they are. Errors, limits and flags are fitted on the labelled stars.
    """
    from distcnn import pipeline

    config = configure(conf, sets)
    with listening(config) as listener:
        pipeline.import_package(package, files, survey, config, listener)
