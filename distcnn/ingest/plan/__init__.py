"""The plan of an ingest: archive, survey and settings, with the tasks that follow from them."""

from distcnn.ingest.plan.ingest_plan import IngestPlan, staging_folder
from distcnn.ingest.plan.part_task import PartTask, main_kind
from distcnn.ingest.plan.planning import plan_ingest
from distcnn.ingest.plan.read_requests import further_scalars, reader_of, spectra_reader_of

__all__ = [
    "IngestPlan",
    "PartTask",
    "further_scalars",
    "main_kind",
    "plan_ingest",
    "reader_of",
    "spectra_reader_of",
    "staging_folder",
]
