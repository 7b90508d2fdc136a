"""Sections of the page, one file per subject; ``registry`` has their order."""
