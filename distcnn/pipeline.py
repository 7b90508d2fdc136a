"""The pipeline on one page: one function per stage, every stage from one store to the next.

    archive files ──ingest──▶ survey.zarr ──train──▶ package/ ──predict──▶ predictions.zarr
      (or simulate)                                     │                  ├──export──▶ catalogue
                                                        │                  └──report──▶ page
                                                        └──compare──▶ baselines.parquet ──┘

Stages meet in stores only: none calls another, and each can be run again from the store
before it. Here, and nowhere else, clusters are opened and stages are put together.
"""

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from functools import wraps
from inspect import signature
from pathlib import Path
from typing import TYPE_CHECKING, ParamSpec, TypeVar

from distcnn.config import BackendConfig, Config, SerialConfig, load_config, presets
from distcnn.errors import UsageError
from distcnn.events import Listener, Notice, silent
from distcnn.location import Address, LocalLocation, Location, work_folder

if TYPE_CHECKING:
    from distcnn.checks import Checked
    from distcnn.clusters.base import ClusterExecutor
    from distcnn.clusters.places import Places
    from distcnn.evaluation import EvaluationData
    from distcnn.inference import Forecast, Plan, PredictSummary, ShareSummary, VerifySummary
    from distcnn.ingest import IngestSummary
    from distcnn.ingest.preview import FilePreview
    from distcnn.survey import Share
    from distcnn.training import DistilSummary, ImportSummary, TrainPlan, TrainSummary
    from distcnn.training.tuning.study import Study


P = ParamSpec("P")
Answer = TypeVar("Answer")


def _with_places(stage: Callable[P, Answer]) -> Callable[P, Answer]:
    """Let a stage take its places as texts, paths or addresses (``s3://bucket/a.zarr``).

    What is annotated as ``Address`` becomes a ``Location``, reached by the section ``objects`` of
    the stage's configuration; what is a ``Path`` has to be on this machine. Any other kind of
    place is refused before the stage begins: as a mere path it would be taken for a folder.
    """
    kinds = stage.__annotations__.items()
    places = {name for name, kind in kinds if kind in (Address, Address | None)}
    local = {name for name, kind in kinds if kind in (Path, Path | None)}
    form = signature(stage)

    @wraps(stage)
    def run(*args: P.args, **options: P.kwargs) -> Answer:
        given = form.bind(*args, **options)
        config = given.arguments.get("config")
        settings = None if config is None else config.objects.settings
        for name in (places | local) & given.arguments.keys():
            if given.arguments[name] is not None:
                place = Location.parse(given.arguments[name], settings)
                given.arguments[name] = place.local_path if name in local else place
        return stage(*given.args, **given.kwargs)

    return run


@_with_places
def simulate_archive(
    out: Path, stars: int, seed: int, config: Config, listener: Listener = silent
) -> dict[str, int]:
    """Write ``stars`` simulated stars as archive files into ``out``; returns counts."""
    from distcnn.clusters import open_cluster
    from distcnn.simulate import write_archive

    with open_cluster(_logging(config.cluster, out), listener) as executor:
        executor.preflight(_places({}, out), listener)
        return write_archive(
            out, stars, seed, config.simulate, executor=executor, listener=listener
        )


@_with_places
def ingest_archive(
    archive: Path,
    survey: Address,
    config: Config,
    listener: Listener = silent,
    *,
    restart: bool = False,
) -> "IngestSummary":
    """Turn the archive files in ``archive`` into the store ``survey``.

    ``restart``: remove first what an earlier run has left unfinished; here and below.
    """
    from distcnn.ingest import build_survey, discard_unfinished
    from distcnn.survey import Store

    _must_exist(archive, "an archive folder")
    if restart:
        discard_unfinished(survey)

    def work(executor: "ClusterExecutor", watched: Listener) -> "IngestSummary":
        return build_survey(archive, survey, config.ingest, executor=executor, listener=watched)

    places = _places({"archive": archive, **_work(survey)}, survey)
    done = _on_workers(config.cluster, config, listener, places, work)
    # A hint for reports, not an identity: both may be moved together.
    store = Store.open(survey)
    store.annotate({"archive": Location.parse(archive).relative_to(store.location)})
    return done


def try_files(
    paths: Sequence[Path], config: Config, png: Path | None = None
) -> "list[FilePreview]":
    """What a configuration makes of files of spectra, without writing a survey.

    Parameters
    ----------
    png : folder for a figure of each file; None for none.
    """
    from distcnn.ingest.preview import preview_file

    for path in paths:
        _must_exist(path, "a file of spectra")
    previews = [preview_file(path, config.ingest) for path in paths]
    for preview in previews:
        if png is not None and preview.spectra:
            draw_preview(preview, png / f"{preview.path.name}.png")
    return previews


def draw_preview(preview: "FilePreview", path: Path) -> None:
    """Draw the spectra of a preview as PNG."""
    from distcnn.report.figures.preview import save_spectra

    stored = preview.stored
    axis = f"wavelength [{stored.unit}, {stored.medium}, {stored.frame}]"
    titles = [f"{preview.path.name}  {one.title}" for one in preview.spectra]
    save_spectra(path, preview.spectra, titles, preview.line_places, axis)


def describe_previews(previews: "Sequence[FilePreview]", config: Config) -> list[str]:
    """The text of ``distcnn ingest --try``."""
    from distcnn.ingest.preview import describe_preview

    return [describe_preview(preview, config.ingest) for preview in previews]


def list_configurations() -> str:
    """Names of the configurations that come along, each with its first words."""
    from distcnn.config import shipped_configurations

    return "\n".join(f"{name:<22} {words}" for name, words in shipped_configurations().items())


def guess_configuration(path: Path) -> str:
    """A first configuration for a file of spectra, every guess marked by a comment."""
    from distcnn.ingest.preview.guess import guess

    _must_exist(path, "a file of spectra")
    return guess(path)


@_with_places
def plan_training(survey: Address, package: Address, config: Config) -> "TrainPlan":
    """What ``train`` would do; prints as text."""
    from distcnn import training
    from distcnn.clusters import expect_workers

    _must_exist(survey, "a survey store")
    there = expect_workers(config.cluster)
    return training.plan_training(
        survey, package, config.train, workers=there.count, gpus=there.gpus
    )


@_with_places
def train_package(
    survey: Address,
    package: Address,
    config: Config,
    listener: Listener = silent,
    *,
    resume: bool = False,
    restart: bool = False,
) -> "TrainSummary":
    """Train the ensemble of ``config.train`` on the labelled stars of ``survey``.

    ``resume``: refuse to begin a new one.
    """
    from distcnn import training

    _must_exist(survey, "a survey store")
    if restart:
        if resume:
            raise UsageError("--resume and --restart", expected="one of them")
        training.discard_unfinished(package)

    def work(executor: "ClusterExecutor", watched: Listener) -> "TrainSummary":
        return training.train_package(
            survey,
            package,
            config.train,
            config.quality,
            executor=executor,
            listener=watched,
            resume=resume,
            gpus=executor.findings.gpus,
        )

    places = _places({"survey": survey, **_work(package)}, package)
    return _on_workers(config.cluster, config, listener, places, work)


@_with_places
def distil_package(
    package: Address,
    small: Address,
    survey: Address,
    config: Config,
    listener: Listener = silent,
    *,
    restart: bool = False,
) -> "DistilSummary":
    """Train one network that answers as the ensemble ``package`` does, on the stars of ``survey``.

    It becomes the package ``small``.
    """
    from distcnn import training

    _must_exist(package, "a package")
    _must_exist(survey, "a survey store")
    if restart:
        training.discard_unfinished(small)
    # There is one student, so more workers than one would stand idle.
    cluster = config.cluster.replaced(workers=1)

    def work(executor: "ClusterExecutor", watched: Listener) -> "DistilSummary":
        return training.distil_package(
            package,
            small,
            survey,
            config.distil,
            config.quality,
            executor=executor,
            listener=watched,
        )

    places = _places({"survey": survey, "package": package, **_work(small)}, small)
    return _on_workers(cluster, config, listener, places, work)


@_with_places
def import_package(
    package: Address,
    files: Sequence[Path],
    survey: Address,
    config: Config,
    listener: Listener = silent,
) -> "ImportSummary":
    """Take networks trained elsewhere over as ``package``, calibrated on labelled stars."""
    from distcnn import training

    for file in files:
        _must_exist(file, "a Keras model")
    _must_exist(survey, "a survey store")
    return training.import_package(
        package,
        files,
        survey,
        config.imported,
        train=config.train,
        quality=config.quality,
        listener=listener,
    )


@_with_places
def describe_agreement(small: Address, config: Config | None = None) -> str:
    """Text telling how a distilled package agrees with its ensemble on the test split."""
    from distcnn.labels import present
    from distcnn.manifest import read_manifest
    from distcnn.report.text import package_evaluation

    with present(read_manifest(small).own_labels), Location.parse(small).local_copy() as folder:
        return "\n".join(package_evaluation.describe_agreement(folder))


@_with_places
def look_at_study(survey: Address, study: Path, config: Config) -> "Study":
    """What ``tune`` would do and what it has done so far; prints as text."""
    from distcnn.training.tuning import tune

    _must_exist(survey, "a survey store")
    return tune.look(survey, study, config.train, config.tune)


@_with_places
def tune_survey(
    survey: Address,
    study: Path,
    config: Config,
    listener: Listener = silent,
    *,
    restart: bool = False,
) -> "Study":
    """Try other settings of training; writes ``best.yaml``, ``trials.csv`` and ``trials.png``."""
    from distcnn.training.tuning import tune
    from distcnn.training.tuning.study import write_best

    _must_exist(survey, "a survey store")
    if restart:
        tune.discard_study(study)
    # Every trial learns from those before it, so none is chosen before a worker is free.
    alone = config.cluster.replaced(in_flight=1)

    def work(executor: "ClusterExecutor", watched: Listener) -> "Study":
        return tune.tune(
            survey, study, config.train, config.tune, executor=executor, listener=watched
        )

    done = _on_workers(alone, config, listener, _places({"survey": survey}, study), work)
    if done.best is not None:
        write_best(done, config)
        _draw_study(done)
    if done.error is not None:
        raise done.error
    return done


def _draw_study(study: "Study") -> None:
    from distcnn.files import atomic_write_bytes
    from distcnn.report.figures.tuning import draw_study

    finished = [(trial.params, trial.value) for trial in study.trials if trial.value is not None]
    params, losses = zip(*finished, strict=True)
    atomic_write_bytes(study.path / "trials.png", draw_study(study.hyperparameters, params, losses))


@_with_places
def plan_predictions(
    package: Address,
    survey: Address,
    predictions: Address,
    config: Config,
    *,
    share: "Share | None" = None,
) -> "Plan":
    """What ``predict`` would do, or the element of a job array with this share; prints as text."""
    from distcnn import inference
    from distcnn.clusters import expect_workers

    _must_exist(package, "a package")
    _must_exist(survey, "a survey store")
    return inference.plan(
        package,
        survey,
        predictions,
        config.predict,
        lambda: expect_workers(config.cluster),
        share=share,
    )


@_with_places
def predict_survey(
    package: Address,
    survey: Address,
    predictions: Address,
    config: Config,
    listener: Listener = silent,
    *,
    restart: bool = False,
) -> "PredictSummary":
    """Compute every star of ``survey`` with ``package`` into ``predictions``."""
    from distcnn import inference

    if restart:
        inference.discard_unfinished(predictions)
    plan = plan_predictions(package, survey, predictions, config)
    listener(Notice(str(plan)))
    plan.check()
    # A finished store needs no workers.
    where = config.cluster if plan.waiting else SerialConfig()

    def work(executor: "ClusterExecutor", watched: Listener) -> "PredictSummary":
        return inference.predict(
            package,
            survey,
            predictions,
            config.predict,
            executor=executor,
            listener=watched,
            memory=plan.worker_memory,
        )

    places = _places({"survey": survey, "package": package}, predictions, plan.memory_needed)
    done = _on_workers(where, config, listener, places, work)
    if done.merged:  # as the last element of a job array would have done
        listener(Notice(str(inference.verify(predictions, config.predict, listener))))
    return done


@_with_places
def predict_share(
    package: Address,
    survey: Address,
    predictions: Address,
    config: Config,
    listener: Listener = silent,
    *,
    share: "Share",
) -> "ShareSummary":
    """Compute the share of one element of a job array; the last one completes and verifies."""
    from distcnn import inference
    from distcnn.clusters import open_cluster

    plan = plan_predictions(package, survey, predictions, config, share=share)
    listener(Notice(str(plan)))
    plan.check()
    where = config.cluster if plan.waiting else SerialConfig()
    with (
        open_cluster(_logging(where, predictions), listener) as executor,
        _watched(executor, config, listener, predictions) as watched,
    ):
        reads = {"survey": survey, "package": package}
        executor.preflight(_places(reads, predictions, plan.memory_needed), listener)
        done = inference.predict_share(
            package,
            survey,
            predictions,
            config.predict,
            share=share,
            executor=executor,
            listener=watched,
            memory=plan.worker_memory,
        )
    listener(Notice(str(done)))
    if done.whole is not None:
        listener(Notice(str(inference.verify(predictions, config.predict, listener))))
    return done


@_with_places
def verify_predictions(
    predictions: Address,
    config: Config,
    listener: Listener = silent,
    *,
    package: Address | None = None,
    survey: Address | None = None,
) -> "VerifySummary":
    """Check a finished prediction store against its ledger, its survey and its package."""
    from distcnn import inference

    _must_exist(predictions, "a prediction store")
    return inference.verify(predictions, config.predict, listener, package=package, survey=survey)


@_with_places
def export_catalogue(
    predictions: Address,
    catalogue: Address,
    listener: Listener = silent,
    *,
    config: Config | None = None,
    columns: str | None = None,
    where: str | None = None,
    covariance: str | None = None,
    margin: float | None = None,
) -> int:
    """Write the catalogue; returns its number of rows.

    ``columns``: names and patterns, with commas between them. ``where``: condition on rows.
    ``covariance``: none, columns (a correlation for each pair of labels) or array (one matrix).
    ``margin``: of the partitions of a HATS catalogue, in arcseconds.
    """
    from distcnn.catalogue import Selection, export, find_entry

    _must_exist(predictions, "a prediction store")
    selection = Selection.parse(columns, where, covariance, margin)
    place = Location.parse(catalogue)
    entry = find_entry(Path(place.name))
    if config is None or entry is None or not entry.shared:
        return export(predictions, place, listener, selection)

    def work(executor: "ClusterExecutor", watched: Listener) -> int:
        return export(predictions, place, watched, selection, executor)

    places = _places({"predictions": predictions, **_work(place)}, place)
    return _on_workers(config.cluster, config, listener, places, work)


@_with_places
def compare_baselines(
    survey: Address,
    out: Address,
    package: Address,
    listener: Listener = silent,
    *,
    config: Config | None = None,
) -> None:
    """Fit other methods on the split of ``package``; the table ``out`` has their labels."""
    from distcnn.baselines import compare

    _must_exist(survey, "a survey store")
    _must_exist(package, "a package")
    compare(survey, out, package, listener)


@_with_places
def write_report(
    predictions: Address,
    folder: Address,
    config: Config,
    listener: Listener = silent,
    *,
    survey: Address | None = None,
    package: Address | None = None,
    truth: Address | None = None,
    baselines: Address | None = None,
) -> Path | Location:
    """Write the page and its numbers; returns the page.

    Survey, package, truth and baselines are looked for where the products say, unless given.
    """
    from distcnn import report

    data = _find_products(
        predictions,
        config,
        listener,
        survey=survey,
        package=package,
        truth=truth,
        baselines=baselines,
    )
    return report.write_report(data, folder, config.report, listener)


@_with_places
def check_predictions(
    predictions: Address,
    names: Sequence[str],
    config: Config,
    listener: Listener = silent,
    *,
    survey: Address | None = None,
    package: Address | None = None,
    truth: Address | None = None,
    baselines: Address | None = None,
) -> "Checked":
    """Put the science checks ``names`` (all if empty) to predictions; prints as text."""
    from distcnn.checks import choose_checks, run_checks

    choose_checks(names)
    data = _find_products(
        predictions,
        config,
        listener,
        survey=survey,
        package=package,
        truth=truth,
        baselines=baselines,
    )
    return run_checks(data, config.report, listener, names=names)


def _find_products(
    predictions: Address, config: Config, listener: Listener, **given: Address | None
) -> "EvaluationData":
    from distcnn.evaluation import find_products

    _must_exist(predictions, "a prediction store")
    if given["baselines"] is not None:
        _must_exist(given["baselines"], "a table of `distcnn compare`")
    show = config.report.baselines
    return find_products(predictions, listener, show_baselines=show, **given)


@_with_places
def watch_predictions(
    predictions: Address,
    say: Callable[[str], None],
    *,
    once: bool,
    interval: float,
    config: Config | None = None,
) -> int:
    """Follow the run that makes a prediction store, line by line; returns ``WatchCode``."""
    from distcnn.monitor.watch import watch

    _must_exist(predictions, "a prediction store")
    return watch(Location.parse(predictions), say, once=once, interval=interval)


@_with_places
def inspect_path(path: Address, config: Config | None = None) -> str:
    """Text telling what a path is, from what it was made, and how complete it is.

    Of work that was interrupted it says what is done and what to type to go on.
    """
    from distcnn import catalogue
    from distcnn.evaluation.baseline_table import is_baselines
    from distcnn.monitor.progress import describe_unfinished
    from distcnn.report.text import inspect

    _must_exist(path, "a store, package, catalogue or folder")
    # A table of baselines has the ending of a catalogue.
    place = Location.parse(path)
    if catalogue.find_entry(Path(place.name)) is not None and not is_baselines(place):
        with place.local_copy() as file:
            if catalogue.is_catalogue(file):
                return catalogue.describe(file).replace(str(file), str(place))
    return "\n".join([inspect.describe(place), *describe_unfinished(place)])


def render_cluster(config: Config) -> str:
    """Text of the objects that ``--cluster`` would create elsewhere; creates nothing."""
    from distcnn import clusters

    return clusters.render_cluster(config.cluster)


def check_machine() -> str:
    """Text telling whether this machine is fit for work."""
    from distcnn.monitor.doctor import examine

    return examine()


def forecast_run(stars: int, pixels: int, members: int, devices: str) -> "Forecast":
    """How long a run of that size would take; prints as text.

    ``devices``: a number and a kind (``8xH200``), or a cluster as ``--cluster`` takes it.
    """
    from distcnn.inference import forecast

    if devices in presets() or devices.endswith((".yaml", ".yml")) or "://" in devices:
        devices = _devices_of(devices)
    return forecast(stars, pixels, members, devices)


def _devices_of(cluster: str) -> str:
    from distcnn.clusters import expect_workers

    config = load_config(cluster=cluster)
    there = expect_workers(config.cluster)
    return f"{there.count * (1 if there.gpus else there.threads)}x{config.cluster.rates}"


@_with_places
def try_engines(package: Address, config: Config) -> str:
    """Table of the engines on this machine: parity in label errors, stars/s of one process."""
    from distcnn.inference import table_of_engines

    _must_exist(package, "a package")
    return table_of_engines(package, config.predict)


@_with_places
def run_demo(folder: Path, config: Config, listener: Listener = silent) -> list[str]:
    """Run the whole pipeline on simulated stars; returns lines that say where the products are."""
    from distcnn.report import choose_figures

    choose_figures(config.report.figures)  # a wrong name is reported before the work, not after
    at = {name: folder / name for name in _DEMO}
    simulate_archive(at["archive"], config.demo.stars, config.demo.seed, config, listener)
    ingest_archive(at["archive"], at["survey.zarr"], config, listener)
    train_package(at["survey.zarr"], at["package"], config, listener)
    predict_survey(at["package"], at["survey.zarr"], at["predictions.zarr"], config, listener)
    listener(Notice(str(verify_predictions(at["predictions.zarr"], config, listener))))
    for name in _CATALOGUES:
        export_catalogue(at["predictions.zarr"], folder / name, listener)
    if config.report.baselines:
        compare_baselines(at["survey.zarr"], at["baselines.parquet"], at["package"], listener)
    page = write_report(at["predictions.zarr"], at["report"], config, listener)
    return [*(f"catalogue  {folder / name}" for name in _CATALOGUES), f"page       {page}"]


_DEMO = ("archive", "survey.zarr", "package", "predictions.zarr", "baselines.parquet", "report")
_CATALOGUES = ("catalogue.fits", "catalogue.parquet", "catalogue.vot")


def _must_exist(path: Address, what: str) -> None:
    if not Location.parse(path).exists():
        raise UsageError(f"{path} does not exist", expected=what)


def _on_workers(
    cluster: BackendConfig,
    config: Config,
    listener: Listener,
    places: "Places",
    work: Callable[["ClusterExecutor", Listener], Answer],
) -> Answer:
    """``work`` with the workers of ``cluster``, begun again if their scheduler is lost.

    Whenever workers have come they are looked at before anything else is done.
    """
    from distcnn.clusters import run_on_cluster

    def watched(executor: "ClusterExecutor") -> Answer:
        executor.preflight(places, listener)
        with _watched(executor, config, listener, places.output) as listening:
            return work(executor, listening)

    return run_on_cluster(_logging(cluster, places.output), listener, watched)


def _places(reads: Mapping[str, Address], output: Address, memory: int = 0) -> "Places":
    from distcnn.clusters.places import Places

    seen = {what: Location.parse(place) for what, place in reads.items()}
    return Places(Location.parse(output), seen, memory)


def _work(product: Address) -> dict[str, Address]:
    """The folder of work on a product in an object store, which every worker has to see too."""
    place = Location.parse(product)
    if isinstance(place, LocalLocation):
        return {}
    folder = work_folder(place).parent
    folder.mkdir(parents=True, exist_ok=True)
    return {"folder of unfinished work (DISTCNN_WORK)": folder}


def _logging(cluster: BackendConfig, product: Address) -> BackendConfig:
    """The cluster, with the logs of its jobs beside what a command makes unless it says where."""
    if getattr(cluster, "logs", "none") is not None:
        return cluster
    logs = work_folder(Location.parse(product)).with_suffix(".logs").absolute()
    return cluster.replaced(logs=logs)


def _watched(
    executor: object, config: Config, listener: Listener, output: Address
) -> AbstractContextManager[Listener]:
    """Show what runs in the block wherever it can be seen, and notice when it is stuck."""
    from distcnn.monitor.run_monitor import watch_run

    place = Location.parse(output)
    backend = config.cluster.backend
    return watch_run(executor, config.monitor, listener, output=place, cluster=backend)
