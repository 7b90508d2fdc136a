"""Writers of catalogue files, one per format."""
