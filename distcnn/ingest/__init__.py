"""Ingest: from archive files to one survey store."""

from distcnn.ingest.build import IngestSummary, build_survey, discard_unfinished

__all__ = ["IngestSummary", "build_survey", "discard_unfinished"]
