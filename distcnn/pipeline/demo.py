"""All stages on simulated stars."""

from pathlib import Path

from distcnn.config import Config
from distcnn.events import Listener, Notice, silent
from distcnn.pipeline.judging import compare_baselines, write_report
from distcnn.pipeline.packages import train_package
from distcnn.pipeline.predictions import export_catalogue, predict_survey, verify_predictions
from distcnn.pipeline.running import with_places
from distcnn.pipeline.surveys import ingest_archive, simulate_archive


@with_places
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
        compared = at["survey.zarr"], at["baselines.parquet"], at["package"]
        compare_baselines(*compared, listener, config=config)
    page = write_report(at["predictions.zarr"], at["report"], config, listener)
    return [*(f"catalogue  {folder / name}" for name in _CATALOGUES), f"page       {page}"]


_DEMO = ("archive", "survey.zarr", "package", "predictions.zarr", "baselines.parquet", "report")
_CATALOGUES = ("catalogue.fits", "catalogue.parquet", "catalogue.vot")
