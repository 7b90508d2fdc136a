"""Judging finished predictions: samples, metrics, subgroups. Knows neither torch nor figures."""
