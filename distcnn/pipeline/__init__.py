"""The pipeline on one page: one function per stage, every stage from one store to the next.

    archive files ──ingest──▶ survey.zarr ──train──▶ package/ ──predict──▶ predictions.zarr
      (or simulate)                                     │                  ├──export──▶ catalogue
                                                        │                  └──report──▶ page
                                                        └──compare──▶ baselines.parquet ──┘

Stages meet in stores only: none calls another, and each can be run again from the store
before it. Here, and nowhere else, clusters are opened and stages are put together.
"""

from distcnn.pipeline.demo import run_demo as run_demo
from distcnn.pipeline.judging import check_package as check_package
from distcnn.pipeline.judging import compare_baselines as compare_baselines
from distcnn.pipeline.judging import write_report as write_report
from distcnn.pipeline.looking import check_machine as check_machine
from distcnn.pipeline.looking import inspect_path as inspect_path
from distcnn.pipeline.looking import render_cluster as render_cluster
from distcnn.pipeline.looking import watch_predictions as watch_predictions
from distcnn.pipeline.maps import map_galaxy as map_galaxy
from distcnn.pipeline.maps import map_tsne as map_tsne
from distcnn.pipeline.maps import plan_tsne as plan_tsne
from distcnn.pipeline.packages import describe_agreement as describe_agreement
from distcnn.pipeline.packages import distil_package as distil_package
from distcnn.pipeline.packages import import_package as import_package
from distcnn.pipeline.packages import look_at_study as look_at_study
from distcnn.pipeline.packages import plan_training as plan_training
from distcnn.pipeline.packages import train_package as train_package
from distcnn.pipeline.packages import tune_survey as tune_survey
from distcnn.pipeline.predictions import export_catalogue as export_catalogue
from distcnn.pipeline.predictions import forecast_run as forecast_run
from distcnn.pipeline.predictions import plan_predictions as plan_predictions
from distcnn.pipeline.predictions import predict_share as predict_share
from distcnn.pipeline.predictions import predict_survey as predict_survey
from distcnn.pipeline.predictions import try_engines as try_engines
from distcnn.pipeline.predictions import verify_predictions as verify_predictions
from distcnn.pipeline.surveys import describe_previews as describe_previews
from distcnn.pipeline.surveys import draw_preview as draw_preview
from distcnn.pipeline.surveys import guess_configuration as guess_configuration
from distcnn.pipeline.surveys import ingest_archive as ingest_archive
from distcnn.pipeline.surveys import list_configurations as list_configurations
from distcnn.pipeline.surveys import simulate_archive as simulate_archive
from distcnn.pipeline.surveys import try_files as try_files
