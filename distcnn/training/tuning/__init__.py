"""Trials of other settings, judged by validation loss."""
