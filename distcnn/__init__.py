"""distcnn: stellar labels for millions of spectra, from archive files to catalogue.

The names below are the whole public face; each is loaded when first used, so importing
distcnn costs next to nothing.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from distcnn.clusters import open_cluster as open_cluster
    from distcnn.config import Config as Config
    from distcnn.config import load_config as load_config
    from distcnn.errors import DistcnnError as DistcnnError
    from distcnn.model import Package as Package
    from distcnn.pipeline import export_catalogue as export_catalogue
    from distcnn.pipeline import ingest_archive as ingest_archive
    from distcnn.pipeline import inspect_path as inspect_path
    from distcnn.pipeline import plan_predictions as plan_predictions
    from distcnn.pipeline import predict_survey as predict_survey
    from distcnn.pipeline import simulate_archive as simulate_archive
    from distcnn.pipeline import train_package as train_package
    from distcnn.pipeline import verify_predictions as verify_predictions
    from distcnn.pipeline import write_report as write_report
    from distcnn.schema import Flag as Flag
    from distcnn.survey import Store as Store

__version__ = "0.1.0"

_HOME = {
    "Config": "config",
    "DistcnnError": "errors",
    "Flag": "schema",
    "Package": "model",
    "Store": "survey",
    "export_catalogue": "pipeline",
    "ingest_archive": "pipeline",
    "inspect_path": "pipeline",
    "load_config": "config",
    "open_cluster": "clusters",
    "plan_predictions": "pipeline",
    "predict_survey": "pipeline",
    "simulate_archive": "pipeline",
    "train_package": "pipeline",
    "verify_predictions": "pipeline",
    "write_report": "pipeline",
}

__all__ = [*_HOME, "__version__"]  # noqa: PLE0604 (names of _HOME are texts)


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'distcnn' has no attribute {name!r}")
    return getattr(import_module(f"distcnn.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return sorted(__all__)
