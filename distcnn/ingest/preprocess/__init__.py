"""What is done to spectra before they are stored: grids, continuum, rebinning."""
