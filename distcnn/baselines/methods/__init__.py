"""The methods, by family: models of spectra, regressions, networks."""
