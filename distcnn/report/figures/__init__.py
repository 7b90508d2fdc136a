"""Figures of the report, one file per subject."""

from distcnn import style as style  # before any part of matplotlib
