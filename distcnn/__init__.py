"""distcnn: stellar labels for millions of spectra, from archive files to catalogue."""

__version__ = "0.1.0"
