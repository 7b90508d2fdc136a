"""Ledgers: which tasks of a run are done, under which fingerprint, and where the lines are kept."""

from distcnn.survey.ledger.entries import Facts
from distcnn.survey.ledger.fingerprint import check_fingerprint
from distcnn.survey.ledger.ledger import Ledger

__all__ = ["Facts", "Ledger", "check_fingerprint"]
