"""All stages on simulated stars."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from distcnn.config import CatalogueConfig, Config, SerialConfig
from distcnn.errors import InputError, MissingExtra
from distcnn.events import Listener, Notice, silent
from distcnn.pipeline.judging import check_package, compare_baselines, write_report
from distcnn.pipeline.maps import map_galaxy, map_tsne
from distcnn.pipeline.packages import train_package
from distcnn.pipeline.predictions import export_catalogue, predict_survey, verify_predictions
from distcnn.pipeline.running import with_places
from distcnn.pipeline.surveys import ingest_archive, simulate_archive


@with_places
def run_demo(folder: Path, config: Config, listener: Listener = silent) -> list[str]:
    """Run the whole pipeline on simulated stars; returns lines that say where the products are."""
    from distcnn.report import choose_figures, choose_sections

    choose_figures(config.report.figures)  # a wrong name is reported before the work, not after
    choose_sections(config.report.sections)
    at = {name: folder / name for name in _DEMO}
    simulate_archive(at["archive"], config.demo.stars, config.demo.seed, config, listener)
    ingest_archive(at["archive"], at["survey.zarr"], config, listener)
    train_package(at["survey.zarr"], at["package"], config, listener)
    predict_survey(at["package"], at["survey.zarr"], at["predictions.zarr"], config, listener)
    listener(Notice(str(verify_predictions(at["predictions.zarr"], config, listener))))
    for name in _CATALOGUES:
        export_catalogue(at["predictions.zarr"], folder / name, listener)
    if config.report.baselines:
        compared = at["survey.zarr"], at["baselines.parquet"], at["package"]
        compare_baselines(*compared, listener, config=config)
    if config.demo.checks:
        _check(at, folder, config, listener)
    if config.demo.maps:
        _map(at, config, listener)
    page = write_report(at["predictions.zarr"], at["report"], config, listener)
    return [*(f"catalogue  {folder / name}" for name in _CATALOGUES), f"page       {page}"]


def _check(at: Mapping[str, Path], folder: Path, config: Config, listener: Listener) -> None:
    """All science checks; what they compare with is made for them, of the same stars."""
    from distcnn.simulate import other_survey

    truth, demo = at["archive"] / "truth.parquet", config.demo
    other = folder / "other_survey.csv"
    other_survey.write_other_survey(truth, other, demo.seed)
    catalogue = CatalogueConfig(
        path=other, name="another survey (simulated)", columns=other_survey.COLUMNS
    )
    checks: dict[str, Any] = {"catalogues": (catalogue,)}
    if {"all", "repeats"} & set(demo.checks):
        checks["repeated"] = str(_observe_again(folder, config, listener))
    # Networks this small cost less than to start workers.
    settings = {"checks": config.checks.model_copy(update=checks), "cluster": SerialConfig()}
    checked = check_package(
        at["package"],
        at["survey.zarr"],
        folder / "checks",
        config.model_copy(update=settings),
        listener,
        names=demo.checks,
        predictions=at["predictions.zarr"],
        truth=truth,
    )
    listener(Notice(str(checked)))


def _observe_again(folder: Path, config: Config, listener: Listener) -> Path:
    """A survey of some of the stars with other noise."""
    settings = config.simulate.model_copy(update={"visit": 1, "ranges": _RANGES_AGAIN})
    visit = config.model_copy(update={"simulate": settings})
    archive, survey = folder / "second_visit", folder / "second_visit.zarr"
    simulate_archive(archive, config.demo.stars, config.demo.seed, visit, listener)
    ingest_archive(archive, survey, visit, listener)
    return survey


def _map(at: Mapping[str, Path], config: Config, listener: Listener) -> None:
    """Both maps; without what they need the page says how they are made."""
    survey, predictions = at["survey.zarr"], at["predictions.zarr"]
    try:
        made = map_tsne(at["package"], survey, at["tsne"], config, listener)
        listener(Notice(str(made)))
        listener(Notice(str(map_galaxy(predictions, at["galaxy"], config, listener))))
    except (MissingExtra, InputError) as error:  # few stars, or an extra that is not installed
        listener(Notice(f"no map: {error}", "warning"))


_RANGES_AGAIN = 2
"""Files of the archive whose stars are observed a second time."""
_DEMO = (
    "archive",
    "survey.zarr",
    "package",
    "predictions.zarr",
    "baselines.parquet",
    "tsne",
    "galaxy",
    "report",
)
_CATALOGUES = ("catalogue.fits", "catalogue.parquet", "catalogue.vot")
