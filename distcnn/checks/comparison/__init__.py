"""Comparison: labels against other labels of the same stars: catalogues, repeats, trainings."""
