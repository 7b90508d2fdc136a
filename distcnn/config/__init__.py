"""Configuration: one frozen, validated model per stage."""

from distcnn.config.base import Bytes, Frozen, parse_bytes
from distcnn.config.catalogue import CatalogueConfig
from distcnn.config.checks import ChecksConfig
from distcnn.config.imported import (
    ImportedConfig,
    ImportedNetwork,
    ImportedOutput,
    ImportedScalar,
    LayerConfig,
)
from distcnn.config.maps import GalaxyMapConfig, MapsConfig, TsneMapConfig
from distcnn.config.objects import ObjectsConfig
from distcnn.config.predict import PredictConfig, QualityConfig
from distcnn.config.reading.cluster_choice import presets
from distcnn.config.reading.load import Config, load_config, shipped_configurations, to_yaml
from distcnn.config.reading.yaml_file import conf_folder
from distcnn.config.resources import ResourcesConfig
from distcnn.config.run import (
    BackendConfig,
    ClusterConfig,
    CudaConfig,
    DemoConfig,
    ExistingConfig,
    LocalConfig,
    MonitorConfig,
    ReportConfig,
    SerialConfig,
)
from distcnn.config.survey.files import CutConfig, FilesConfig, SentinelsConfig, SpectraFilesConfig
from distcnn.config.survey.ingest import GridConfig, IngestConfig, PrepareConfig, StoreConfig
from distcnn.config.survey.label_table import CrosswalkConfig, LabelsConfig
from distcnn.config.survey.rest_frame import REST, RestFrameConfig
from distcnn.config.survey.simulate import DefectConfig, ReleaseGridConfig, SimulateConfig
from distcnn.config.survey.snr import SnrConfig
from distcnn.config.survey.spectrum_layout import (
    KeepConfig,
    MissingPixelsConfig,
    PixelMaskConfig,
    SpectrumLayoutConfig,
    ValuePlaceConfig,
)
from distcnn.config.train import (
    AugmentConfig,
    DistilConfig,
    DistributeConfig,
    NetworkConfig,
    OptimiserConfig,
    Range,
    SplitConfig,
    StackingConfig,
    StudentConfig,
    StudentNetwork,
    TrainConfig,
    TuneConfig,
)

__all__ = [
    "REST",
    "AugmentConfig",
    "BackendConfig",
    "Bytes",
    "CatalogueConfig",
    "ChecksConfig",
    "ClusterConfig",
    "Config",
    "CrosswalkConfig",
    "CudaConfig",
    "CutConfig",
    "DefectConfig",
    "DemoConfig",
    "DistilConfig",
    "DistributeConfig",
    "ExistingConfig",
    "FilesConfig",
    "Frozen",
    "GalaxyMapConfig",
    "GridConfig",
    "ImportedConfig",
    "ImportedNetwork",
    "ImportedOutput",
    "ImportedScalar",
    "IngestConfig",
    "KeepConfig",
    "LabelsConfig",
    "LayerConfig",
    "LocalConfig",
    "MapsConfig",
    "MissingPixelsConfig",
    "MonitorConfig",
    "NetworkConfig",
    "ObjectsConfig",
    "OptimiserConfig",
    "PixelMaskConfig",
    "PredictConfig",
    "PrepareConfig",
    "QualityConfig",
    "Range",
    "ReleaseGridConfig",
    "ReportConfig",
    "ResourcesConfig",
    "RestFrameConfig",
    "SentinelsConfig",
    "SerialConfig",
    "SimulateConfig",
    "SnrConfig",
    "SpectraFilesConfig",
    "SpectrumLayoutConfig",
    "SplitConfig",
    "StackingConfig",
    "StoreConfig",
    "StudentConfig",
    "StudentNetwork",
    "TrainConfig",
    "TsneMapConfig",
    "TuneConfig",
    "ValuePlaceConfig",
    "conf_folder",
    "load_config",
    "parse_bytes",
    "presets",
    "shipped_configurations",
    "to_yaml",
]
