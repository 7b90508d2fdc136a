"""Ingest: from archive files to one survey store."""

from distcnn.ingest.build import IngestSummary, build_survey

__all__ = ["IngestSummary", "build_survey"]
