"""The files in which a simulated survey is handed over, as the archives lay them out."""
