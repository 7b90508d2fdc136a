"""Copies: what training makes of every star beside itself, with the labels of the star."""

from distcnn.training.data.copies.making import copies_of

__all__ = ["copies_of"]
