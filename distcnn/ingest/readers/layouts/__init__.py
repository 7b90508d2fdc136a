"""Files of spectra by description: where arrays stand, what they mean, how arms are joined."""
