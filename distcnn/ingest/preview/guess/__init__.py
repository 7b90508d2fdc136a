"""A first configuration for an unknown file of spectra: ``distcnn conf --guess``.

Every line says in a comment whether the file states it or whether it is a guess, by names and
values, which a person has to look at before it is believed.
"""

from distcnn.ingest.preview.guess.configuration import guess

__all__ = ["guess"]
