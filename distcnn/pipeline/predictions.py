"""From package and survey to predictions, and to a catalogue."""

from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from distcnn.config import Config, SerialConfig, load_config, presets
from distcnn.events import Listener, Notice, silent
from distcnn.location import Address, Location, is_finished_store
from distcnn.pipeline.running import (
    must_exist,
    on_workers,
    places_of,
    with_places,
    work_of,
)

if TYPE_CHECKING:
    from distcnn.clusters.base import ClusterExecutor
    from distcnn.clusters.places import Places
    from distcnn.evaluation.agreement import StandardLabels
    from distcnn.inference import Forecast, Plan, PredictSummary, ShareSummary, VerifySummary
    from distcnn.survey import Share

WORKER_MODULES = ("distcnn.inference",)
"""What a worker imports before it predicts."""
_ENGINE_MODULE = "openvino"
"""Imported by workers that run already: it begins a thread, which a fork would not take along."""


@with_places
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

    must_exist(package, "a package")
    must_exist(survey, "a survey store")
    return inference.plan(
        package,
        survey,
        predictions,
        config.predict,
        lambda: expect_workers(config.cluster),
        share=share,
    )


@with_places
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
    with _workers_ahead(Location.parse(predictions), config):
        from distcnn import inference

        if restart:
            inference.discard_unfinished(predictions)
        return _predict_survey(package, survey, predictions, config, listener)


def _workers_ahead(predictions: Location, config: Config) -> AbstractContextManager[object]:
    """What workers will need is imported from now on, unless there is nothing left for them."""
    from distcnn.clusters import import_ahead

    if is_finished_store(predictions):
        return nullcontext()
    return import_ahead(config.cluster, *WORKER_MODULES)


def _predict_survey(
    package: Address,
    survey: Address,
    predictions: Address,
    config: Config,
    listener: Listener,
) -> "PredictSummary":
    from distcnn import inference

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

    done = on_workers(where, config, listener, _places(package, survey, predictions, plan), work)
    if done.merged:  # as the last element of a job array would have done
        listener(Notice(str(inference.verify(predictions, config.predict, listener))))
    return done


def _places(package: Address, survey: Address, predictions: Address, plan: "Plan") -> "Places":
    reads = {"survey": survey, "package": package}
    return places_of(reads, predictions, plan.memory_needed, *modules_of(plan.engine))


def modules_of(engine: str) -> tuple[str, ...]:
    """What workers import while the client plans and makes the store, for an engine as it is asked
    for: OpenVINO takes them a tenth of a second. One that is not installed is no fault.
    """
    used = engine in ("auto", _ENGINE_MODULE)
    return (*WORKER_MODULES, _ENGINE_MODULE) if used else WORKER_MODULES


@with_places
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

    plan = plan_predictions(package, survey, predictions, config, share=share)
    listener(Notice(str(plan)))
    plan.check()
    where = config.cluster if plan.waiting else SerialConfig()

    def work(executor: "ClusterExecutor", watched: Listener) -> "ShareSummary":
        return inference.predict_share(
            package,
            survey,
            predictions,
            config.predict,
            share=share,
            executor=executor,
            listener=watched,
            memory=plan.worker_memory,
        )

    done = on_workers(where, config, listener, _places(package, survey, predictions, plan), work)
    listener(Notice(str(done)))
    if done.whole is not None:
        listener(Notice(str(inference.verify(predictions, config.predict, listener))))
    return done


@with_places
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

    must_exist(predictions, "a prediction store")
    return inference.verify(predictions, config.predict, listener, package=package, survey=survey)


@with_places
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
    baselines: Address | None = None,
) -> int:
    """Write the catalogue; returns its number of rows.

    ``columns``: names and patterns, with commas between them. ``where``: condition on rows.
    ``covariance``: none, columns (a correlation for each pair of labels) or array (one matrix).
    ``margin``: of the partitions of a HATS catalogue, in arcseconds. ``baselines``: table of
    ``compare_baselines``, for columns with the best standard method and how far it agrees.
    """
    from distcnn.catalogue import Selection, export, find_entry

    must_exist(predictions, "a prediction store")
    selection = Selection.parse(columns, where, covariance, margin)
    if baselines is not None:
        selection = replace(selection, standard=_standard_labels(predictions, baselines, listener))
    place = Location.parse(catalogue)
    entry = find_entry(Path(place.name))
    if config is None or entry is None or not entry.shared:
        return export(predictions, place, listener, selection)

    def work(executor: "ClusterExecutor", watched: Listener) -> int:
        return export(predictions, place, watched, selection, executor)

    places = places_of({"predictions": predictions, **work_of(place)}, place)
    return on_workers(config.cluster, config, listener, places, work)


def _standard_labels(
    predictions: Address, baselines: Address, listener: Listener
) -> "StandardLabels":
    """Labels of the best standard methods, of the survey, split and labels of the predictions."""
    from distcnn.evaluation import find_products
    from distcnn.evaluation.agreement import StandardLabels
    from distcnn.survey import Store

    must_exist(baselines, "a table of `distcnn compare`")
    find_products(predictions, listener, baselines=baselines)  # refuses one of other stars
    store = Store.open(predictions, "predictions")
    return StandardLabels.read(baselines, [str(name) for name in store.coordinate("label")])


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


@with_places
def try_engines(package: Address, config: Config) -> str:
    """Table of the engines on this machine: parity in label errors, stars/s of one process."""
    from distcnn.inference import table_of_engines

    must_exist(package, "a package")
    return table_of_engines(package, config.predict)
