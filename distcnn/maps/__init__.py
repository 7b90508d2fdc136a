"""Maps of a whole survey: of its spectra beside those of training, and of the Galaxy.

A map is a folder that ``record`` describes; the report shows what stands there.
"""

from distcnn.maps.record import MapRecord

__all__ = ["MapRecord"]
