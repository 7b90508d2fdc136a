"""Kinds of object stores: how each is reached, and where one's credentials for it are.

They come from the environment, or from the usual files of the tools, and from nowhere else. The
library reads most of it by itself; what it would ask for minutes, or refuse without a word, is
looked at first. Nothing of this is kept, shown or sent anywhere but to the library.
"""

from distcnn.location.providers.registry import open_store

__all__ = ["open_store"]
