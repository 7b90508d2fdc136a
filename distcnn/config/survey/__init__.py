"""Settings of surveys: archive files, spectra and their preparation, and simulated ones."""
