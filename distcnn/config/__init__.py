"""Configuration: one frozen, validated model per room."""

from distcnn.config.base import Bytes, Frozen
from distcnn.config.cluster import ClusterConfig
from distcnn.config.demo import DemoConfig
from distcnn.config.distil import DistilConfig, StudentConfig, StudentNetwork
from distcnn.config.distribute import DistributeConfig
from distcnn.config.ingest import (
    CutConfig,
    FilesConfig,
    GridConfig,
    IngestConfig,
    LabelsConfig,
    PrepareConfig,
    StoreConfig,
)
from distcnn.config.load import Config, conf_folder, load_config, to_yaml
from distcnn.config.predict import PredictConfig, QualityConfig
from distcnn.config.report import ReportConfig
from distcnn.config.simulate import SimulateConfig, TroubleConfig
from distcnn.config.train import AugmentConfig, NetworkConfig, SplitConfig, TrainConfig
from distcnn.config.tune import Range, TuneConfig

__all__ = [
    "AugmentConfig",
    "Bytes",
    "ClusterConfig",
    "Config",
    "CutConfig",
    "DemoConfig",
    "DistilConfig",
    "DistributeConfig",
    "FilesConfig",
    "Frozen",
    "GridConfig",
    "IngestConfig",
    "LabelsConfig",
    "NetworkConfig",
    "PredictConfig",
    "PrepareConfig",
    "QualityConfig",
    "Range",
    "ReportConfig",
    "SimulateConfig",
    "SplitConfig",
    "StoreConfig",
    "StudentConfig",
    "StudentNetwork",
    "TrainConfig",
    "TroubleConfig",
    "TuneConfig",
    "conf_folder",
    "load_config",
    "to_yaml",
]
