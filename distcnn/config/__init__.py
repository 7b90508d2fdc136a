"""Configuration: one frozen, validated model per stage."""

from distcnn.config.base import Bytes, Frozen, parse_bytes
from distcnn.config.load import Config, conf_folder, load_config, to_yaml
from distcnn.config.predict import PredictConfig, QualityConfig
from distcnn.config.resources import ResourcesConfig
from distcnn.config.run import ClusterConfig, DemoConfig, MonitorConfig, ReportConfig
from distcnn.config.simulate import DefectConfig, ReleaseGridConfig, SimulateConfig
from distcnn.config.survey import (
    CutConfig,
    FilesConfig,
    GridConfig,
    IngestConfig,
    LabelsConfig,
    PrepareConfig,
    SentinelsConfig,
    StoreConfig,
)
from distcnn.config.train import (
    AugmentConfig,
    DistilConfig,
    DistributeConfig,
    NetworkConfig,
    OptimiserConfig,
    Range,
    SplitConfig,
    StudentConfig,
    StudentNetwork,
    TrainConfig,
    TuneConfig,
)

__all__ = [
    "AugmentConfig",
    "Bytes",
    "ClusterConfig",
    "Config",
    "CutConfig",
    "DefectConfig",
    "DemoConfig",
    "DistilConfig",
    "DistributeConfig",
    "FilesConfig",
    "Frozen",
    "GridConfig",
    "IngestConfig",
    "LabelsConfig",
    "MonitorConfig",
    "NetworkConfig",
    "OptimiserConfig",
    "PredictConfig",
    "PrepareConfig",
    "QualityConfig",
    "Range",
    "ReleaseGridConfig",
    "ReportConfig",
    "ResourcesConfig",
    "SentinelsConfig",
    "SimulateConfig",
    "SplitConfig",
    "StoreConfig",
    "StudentConfig",
    "StudentNetwork",
    "TrainConfig",
    "TuneConfig",
    "conf_folder",
    "load_config",
    "parse_bytes",
    "to_yaml",
]
