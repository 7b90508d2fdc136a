"""File formats below the archives: text, FITS and VOTable tables, their fields."""
