"""The river on one page: one function per stage, every stage from one store to the next.

    archive files ──ingest──▶ survey.zarr ──train──▶ package/ ──predict──▶ predictions.zarr
      (or simulate)                                                    ├──export──▶ catalogue
                                                                       └──report──▶ page

Stages meet in stores only: none calls another, and each can be run again from the store
before it. Here, and nowhere else, clusters are opened and rooms are put together.
"""

from pathlib import Path
from typing import TYPE_CHECKING

from distcnn.config import Config
from distcnn.errors import UsageError
from distcnn.events import Listener, Notice, silent

if TYPE_CHECKING:
    from distcnn.inference import Plan, PredictSummary, VerifySummary
    from distcnn.ingest import IngestSummary
    from distcnn.training import TrainSummary


def simulate_archive(
    out: Path, stars: int, seed: int, config: Config, listener: Listener = silent
) -> dict[str, int]:
    """Write ``stars`` simulated stars as archive files into ``out``; returns counts."""
    from distcnn.clusters import open_cluster
    from distcnn.simulate import write_archive

    with open_cluster(config.cluster) as flow:
        return write_archive(out, stars, seed, config.simulate, flow=flow, listener=listener)


def ingest_archive(
    archive: Path, survey: Path, config: Config, listener: Listener = silent
) -> "IngestSummary":
    """Turn the archive files in ``archive`` into the store ``survey``."""
    from distcnn.clusters import open_cluster
    from distcnn.ingest import build_survey

    _must_exist(archive, "an archive folder")
    with open_cluster(config.cluster) as flow:
        _tell_dashboard(flow, listener)
        return build_survey(archive, survey, config.ingest, flow=flow, listener=listener)


def train_package(
    survey: Path, package: Path, config: Config, listener: Listener = silent
) -> "TrainSummary":
    """Train the ensemble of ``config.train`` on the labelled stars of ``survey``."""
    from distcnn.clusters import open_cluster
    from distcnn.training import train_package as run

    _must_exist(survey, "a survey store")
    with open_cluster(config.cluster) as flow:
        _tell_dashboard(flow, listener)
        return run(survey, package, config.train, config.quality, flow=flow, listener=listener)


def plan_predictions(package: Path, survey: Path, predictions: Path, config: Config) -> "Plan":
    """What ``predict`` would do; prints as text."""
    from distcnn.clusters import worker_count
    from distcnn.inference import plan as make_plan

    _must_exist(package, "a package")
    _must_exist(survey, "a survey store")
    return make_plan(
        package, survey, predictions, config.predict, workers=worker_count(config.cluster)
    )


def predict_survey(
    package: Path, survey: Path, predictions: Path, config: Config, listener: Listener = silent
) -> "PredictSummary":
    """Compute every star of ``survey`` with ``package`` into ``predictions``."""
    from distcnn.clusters import open_cluster
    from distcnn.inference import predict as run

    listener(Notice(str(plan_predictions(package, survey, predictions, config))))
    with open_cluster(config.cluster) as flow:
        _tell_dashboard(flow, listener)
        return run(package, survey, predictions, config.predict, flow=flow, listener=listener)


def verify_predictions(
    predictions: Path,
    config: Config,
    listener: Listener = silent,
    *,
    package: Path | None = None,
    survey: Path | None = None,
) -> "VerifySummary":
    """Check a finished prediction store against its ledger, its survey and its package."""
    from distcnn.inference import verify as check

    _must_exist(predictions, "a prediction store")
    return check(predictions, config.predict, listener, package=package, survey=survey)


def export_catalogue(predictions: Path, catalogue: Path, listener: Listener = silent) -> int:
    """Write the catalogue file; returns its number of rows."""
    from distcnn.catalogue import export as write

    _must_exist(predictions, "a prediction store")
    return write(predictions, catalogue, listener)


def inspect_path(path: Path) -> str:
    """Text telling what a path is, from what it was made, and how complete it is."""
    from distcnn.report import describe

    _must_exist(path, "a store, package, catalogue or folder")
    return describe(path)


def check_machine() -> str:
    """Text telling whether this machine is fit for work."""
    from distcnn.monitor import examine

    return examine()


def run_demo(folder: Path, config: Config, listener: Listener = silent) -> list[str]:
    """Run the whole river on simulated stars; returns lines that say where the products are."""
    at = {name: folder / name for name in _DEMO}
    simulate_archive(at["archive"], config.demo.stars, config.demo.seed, config, listener)
    ingest_archive(at["archive"], at["survey.zarr"], config, listener)
    train_package(at["survey.zarr"], at["package"], config, listener)
    predict_survey(at["package"], at["survey.zarr"], at["predictions.zarr"], config, listener)
    listener(Notice(str(verify_predictions(at["predictions.zarr"], config, listener))))
    for name in _CATALOGUES:
        export_catalogue(at["predictions.zarr"], folder / name, listener)
    page = write_report(at["predictions.zarr"], at["report"], config, listener)
    return [*(f"catalogue  {folder / name}" for name in _CATALOGUES), f"page       {page}"]


_DEMO = ("archive", "survey.zarr", "package", "predictions.zarr", "report")
_CATALOGUES = ("catalogue.fits", "catalogue.parquet", "catalogue.vot")


def _must_exist(path: Path, what: str) -> None:
    if not path.exists():
        raise UsageError(f"{path} does not exist", expected=what)


def _tell_dashboard(flow: object, listener: Listener) -> None:
    link = getattr(flow, "dashboard", None)
    if link:
        listener(Notice(f"Dask dashboard: {link}"))
