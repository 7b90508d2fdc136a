"""The command line: one thin command per function of the pipeline.

Nothing heavy is imported before a command runs, so that ``distcnn --help`` answers at once.
Exit codes: 0 done, 1 a clear error, 2 wrong usage, 3 finished with stars or files quarantined,
130 stopped by Ctrl-C (143 by SIGTERM, 129 by SIGHUP).
"""

from __future__ import annotations

import errno
import json
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from io import TextIOWrapper
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperGroup

from distcnn import __version__, stopping
from distcnn.clusters.registry import backends_help
from distcnn.errors import DistcnnError, UsageError

if TYPE_CHECKING:
    from distcnn.config import Config
    from distcnn.events import Listener
    from distcnn.survey import Share

DONE, ERROR, USAGE, QUARANTINED, INTERRUPTED = 0, 1, 2, 3, 130


class _Guard(TyperGroup):
    """Turns every clear error into one line and an exit code."""

    def invoke(self, ctx: Any) -> Any:
        try:
            with stopping.ending_in_order():
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


def _of_the_disk(error: OSError) -> str:
    if error.errno not in {errno.ENOSPC, errno.EDQUOT}:
        return str(error)
    where = f" where {error.filename} is written" if error.filename else ""
    return f"the disk is full{where} ({error.strerror}). Free some space and run the command again."


def _show(*lines: object) -> None:
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


def _configure(conf: Path | None, sets: list[str] | None, cluster: str | None = None) -> Config:
    from distcnn.config import load_config

    return load_config(conf, sets or [], cluster)


@contextmanager
def _listening(config: Config) -> Iterator[Listener]:
    """The console and the listeners of the section ``monitor``."""
    from distcnn.monitor import open_listener

    with open_listener(config.monitor) as listener:
        yield listener


def _code(quarantined: int) -> int:
    return QUARANTINED if quarantined else DONE


@app.command()
def simulate(
    out_dir: Path,
    stars: Annotated[int, typer.Option(min=1, help="Number of stars.")],
    seed: Annotated[int, typer.Option(min=0, help="Same seed, same files.")] = 1,
    conf: Conf = None,
    sets: Sets = None,
    cluster: Cluster = None,
) -> None:
    """Write a survey with known truth as archive files (Gaia bulk layout, APOGEE-like labels)."""
    from distcnn import pipeline

    config = _configure(conf, sets, cluster)
    with _listening(config) as listener:
        pipeline.simulate_archive(out_dir, stars, seed, config, listener)


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

    config = _configure(conf, sets, cluster)
    if look:
        paths = [archive_dir, *([Path(survey)] if survey else []), *(files or [])]
        previews = pipeline.try_files(paths, config, png)
        _show(*pipeline.describe_previews(previews, config))
        raise typer.Exit(_code(sum(preview.error is not None for preview in previews)))
    _check_ingest(survey, files, png)
    assert survey is not None
    with _listening(config) as listener:
        done = pipeline.ingest_archive(archive_dir, survey, config, listener, restart=restart)
    raise typer.Exit(_code(done.quarantined + done.unusable_files))


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

    _show(pipeline.list_configurations() if guess is None else pipeline.guess_configuration(guess))


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
    config = _configure(conf, sets, cluster)
    if dry_run:
        _show(pipeline.plan_training(survey, package, config))
        return
    with _listening(config) as listener:
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
    config = _configure(conf, sets, cluster)
    if dry_run:
        _show(pipeline.look_at_study(survey, study, config))
        return
    with _listening(config) as listener:
        tuned = pipeline.tune_survey(survey, study, config, listener, restart=restart)
    _show(tuned)
    _show(f"distcnn train {survey} PACKAGE --conf {study / 'best.yaml'}")


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

    config = _configure(conf, sets, cluster)
    with _listening(config) as listener:
        pipeline.distil_package(package, small, survey, config, listener, restart=restart)
    _show(pipeline.describe_agreement(small, config))


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
    config = _configure(conf, [*(sets or []), *chosen], cluster)
    if dry_run:
        plan = pipeline.plan_predictions(package, survey, predictions, config, share=share)
        _show(plan)
        plan.check()
        return
    if share is not None:
        with _listening(config) as listener:
            part = pipeline.predict_share(
                package, survey, predictions, config, listener, share=share
            )
        raise typer.Exit(_code(part.failed))
    with _listening(config) as listener:
        done = pipeline.predict_survey(
            package, survey, predictions, config, listener, restart=restart
        )
    raise typer.Exit(_code(done.failed))


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

    _show(pipeline.forecast_run(int(stars), pixels, members, devices))


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

    config = _configure(conf, sets)
    with _listening(config) as listener:
        found = pipeline.verify_predictions(
            predictions, config, listener, package=package, survey=survey
        )
    _show(found)


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
    conf: Conf = None,
    sets: Sets = None,
    cluster: Cluster = None,
) -> None:
    """Write the catalogue: .fits, .parquet, .vot, .hats or .cds (for VizieR), all described.

    HATS, partitioned on the sky, is written by all workers; the same command again resumes.
    """
    from distcnn import pipeline

    config = _configure(conf, sets, cluster)
    with _listening(config) as listener:
        pipeline.export_catalogue(
            predictions,
            catalogue,
            listener,
            config=config,
            columns=columns,
            where=where,
            covariance=covariance,
            margin=margin,
        )


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

    config = _configure(conf, sets)
    with _listening(config) as listener:
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

    config = _configure(conf, sets)
    with _listening(config) as listener:
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

    config = _configure(conf, sets)
    with _listening(config) as listener:
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
    _show(checked)
    raise typer.Exit(ERROR if checked.failed else DONE)


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

    config = _configure(conf, sets)
    code = pipeline.watch_predictions(predictions, say, once=once, interval=interval, config=config)
    raise typer.Exit(code)


@app.command()
def inspect(path: Place, conf: Conf = None, sets: Sets = None) -> None:
    """Tell what a store, package, archive or catalogue is, from what, and how complete."""
    from distcnn import pipeline

    _show(pipeline.inspect_path(path, _configure(conf, sets)))


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

    _show(pipeline.check_machine())
    if package is not None:
        _show(pipeline.try_engines(package, _configure(conf, sets)))


@app.command()
def demo(
    out_dir: Annotated[Path, typer.Argument()] = Path("runs/demo"),
    conf: Conf = None,
    sets: Sets = None,
    cluster: Cluster = None,
) -> None:
    """Run the whole pipeline on simulated stars: from archive files to catalogue and report."""
    from distcnn import pipeline

    config = _configure(conf or Path("demo"), sets, cluster)
    with _listening(config) as listener:
        lines = pipeline.run_demo(out_dir, config, listener)
    _show(*lines)


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

    config = _configure(conf, sets)
    with _listening(config) as listener:
        pipeline.import_package(package, files, survey, config, listener)


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

    print(pipeline.render_cluster(_configure(conf, sets, cluster)), end="")


def _version(asked: bool) -> None:
    if asked:
        _show(f"distcnn {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print version.")
    ] = False,
) -> None:
    pass


def main() -> None:
    """Run the command line in this process, and end it."""
    stopping.install()
    # A terminal, a pipe or a name that cannot show a letter shows its number instead.
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    app()
