"""From a survey with labels to a package: train, tune, distil, import."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from distcnn.config import Config
from distcnn.errors import UsageError
from distcnn.events import Listener, silent
from distcnn.location import Address, Location
from distcnn.pipeline.running import (
    must_exist,
    must_have_room,
    on_workers,
    places_of,
    with_places,
    work_of,
)

if TYPE_CHECKING:
    from distcnn.clusters.base import ClusterExecutor
    from distcnn.training import DistilSummary, ImportSummary, TrainPlan, TrainSummary
    from distcnn.training.tuning.study import Study


@with_places
def plan_training(survey: Address, package: Address, config: Config) -> "TrainPlan":
    """What ``train`` would do; prints as text."""
    from distcnn import training
    from distcnn.clusters import expect_workers

    must_exist(survey, "a survey store")
    there = expect_workers(config.cluster)
    return training.plan_training(
        survey, package, config.train, workers=there.count, gpus=there.gpus
    )


@with_places
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

    must_exist(survey, "a survey store")
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

    places = places_of({"survey": survey, **work_of(package)}, package, 0, "distcnn.training")
    return on_workers(config.cluster, config, listener, places, work)


@with_places
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

    must_exist(package, "a package")
    must_exist(survey, "a survey store")
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

    places = places_of({"survey": survey, "package": package, **work_of(small)}, small)
    return on_workers(cluster, config, listener, places, work)


@with_places
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
        must_exist(file, "a Keras model")
    must_exist(survey, "a survey store")
    return training.import_package(
        package,
        files,
        survey,
        config.imported,
        train=config.train,
        quality=config.quality,
        listener=listener,
    )


@with_places
def describe_agreement(small: Address, config: Config | None = None) -> str:
    """Text telling how a distilled package agrees with its ensemble on the test split."""
    from distcnn.labels import present
    from distcnn.manifest import read_manifest
    from distcnn.report.text import package_evaluation

    with present(read_manifest(small).own_labels), Location.parse(small).local_copy() as folder:
        return "\n".join(package_evaluation.describe_agreement(folder))


@with_places
def look_at_study(survey: Address, study: Path, config: Config) -> "Study":
    """What ``tune`` would do and what it has done so far; prints as text."""
    from distcnn.training.tuning import tune

    must_exist(survey, "a survey store")
    return tune.look(survey, study, config.train, config.tune)


@with_places
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

    must_exist(survey, "a survey store")
    must_have_room(study, "the study")
    if restart:
        tune.discard_study(study)
    # Every trial learns from those before it, so none is chosen before a worker is free.
    alone = config.cluster.replaced(in_flight=1)

    def work(executor: "ClusterExecutor", watched: Listener) -> "Study":
        return tune.tune(
            survey, study, config.train, config.tune, executor=executor, listener=watched
        )

    done = on_workers(alone, config, listener, places_of({"survey": survey}, study), work)
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
