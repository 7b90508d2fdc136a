"""The report: one page on what was computed, how well, and how far it may be trusted."""

from distcnn.evaluation.data import ReportData, Rival
from distcnn.report.page import write_report

__all__ = ["ReportData", "Rival", "write_report"]
