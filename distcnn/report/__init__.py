"""The report: one page on what was computed, how well, and how far it may be trusted."""

from distcnn.report.data import Finished, ReportData
from distcnn.report.figures.registry import choose_figures
from distcnn.report.finished import find_finished
from distcnn.report.page import write_report
from distcnn.report.sections.registry import choose_sections

__all__ = [
    "Finished",
    "ReportData",
    "choose_figures",
    "choose_sections",
    "find_finished",
    "write_report",
]
