"""File formats below the archives: which one a file has, and the tables of each."""
