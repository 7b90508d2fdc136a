"""Staged parts: one spectra file each, joined with what is known of its stars."""
