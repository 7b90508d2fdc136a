"""From labels to observed spectra: lines, atmosphere, instrument, XP coefficients."""
