"""The archive's own files: Gaia's three tables as ECSV text, APOGEE's table of labels as FITS."""
