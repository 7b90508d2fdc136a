"""The report: one page on what was computed, how well, and how far it may be trusted."""

from distcnn.report.figures.registry import choose_figures
from distcnn.report.page import write_report

__all__ = ["choose_figures", "write_report"]
