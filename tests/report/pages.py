"""Evaluate and write a report, as the command does."""

from distcnn.evaluation import evaluate
from distcnn.events import silent
from distcnn.report import Finished, ReportData
from distcnn.report import write_report as write_page


def write_report(products, folder, config, listener=silent, finished=None):
    """The page."""
    numbers, sample = evaluate(products, config, listener)
    data = ReportData(products, numbers, sample, config, finished or Finished())
    return write_page(data, folder, listener)
