"""Commands that look at runs, products, machines and clusters."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from distcnn.cli.application import app, show
from distcnn.cli.options import Cluster, Conf, Place, Sets, configure, listening


@app.command()
def watch(
    predictions: Place,
    once: Annotated[bool, typer.Option("--once", help="Tell once how far it is, and end.")] = False,
    interval: Annotated[float, typer.Option(min=0.1, help="Seconds between two lines.")] = 10.0,
    conf: Conf = None,
    sets: Sets = None,
) -> None:
    """Follow a run from any machine: progress, speed, time left, failures, who does it.

    Ends when the predictions are complete (exit code 0, or 3 with stars quarantined), or when
    nobody works on them any more (5, with the command that goes on). With --once: 4 = at work.
    """
    from distcnn import pipeline

    def say(line: str) -> None:
        print(line, flush=True)

    config = configure(conf, sets)
    code = pipeline.watch_predictions(predictions, say, once=once, interval=interval, config=config)
    raise typer.Exit(code)


@app.command()
def inspect(path: Place, conf: Conf = None, sets: Sets = None) -> None:
    """Tell what a store, package, archive or catalogue is, from what, and how complete."""
    from distcnn import pipeline

    show(pipeline.inspect_path(path, configure(conf, sets)))


@app.command()
def doctor(
    package: Annotated[
        str | None, typer.Argument(help="Try the engines on it: parity and speed of each.")
    ] = None,
    conf: Conf = None,
    sets: Sets = None,
) -> None:
    """Check this machine: versions, cores, memory, disk, storage round trip, engines."""
    from distcnn import pipeline

    show(pipeline.check_machine())
    if package is not None:
        show(pipeline.try_engines(package, configure(conf, sets)))


@app.command()
def demo(
    out_dir: Annotated[Path, typer.Argument()] = Path("runs/demo"),
    conf: Conf = None,
    sets: Sets = None,
    cluster: Cluster = None,
) -> None:
    """Run the whole pipeline on simulated stars: from archive files to catalogue and report."""
    from distcnn import pipeline

    config = configure(conf or Path("demo"), sets, cluster)
    with listening(config) as listener:
        lines = pipeline.run_demo(out_dir, config, listener)
    show(*lines)


cluster_app = typer.Typer(help="Look at clusters without starting one.", no_args_is_help=True)
app.add_typer(cluster_app, name="cluster")


@cluster_app.command()
def render(
    cluster: Annotated[str, typer.Argument(help="As for --cluster: k8s, or a YAML file.")] = "k8s",
    conf: Conf = None,
    sets: Sets = None,
) -> None:
    """Print the objects that a run on this cluster would create; creates nothing."""
    from distcnn import pipeline

    print(pipeline.render_cluster(configure(conf, sets, cluster)), end="")
