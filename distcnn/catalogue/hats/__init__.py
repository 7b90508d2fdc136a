"""HATS catalogues: rows partitioned by HEALPix, as Parquet, for LSDB and whatever reads that.

Rows are read region by region and laid down sorted by position (``pieces``); from the numbers of
stars the partitions follow (``partitions``); each is then gathered from the pieces. Both steps
are tasks for any executor, and what is stored is not made again (``build``).
"""

from distcnn.catalogue.hats.build import HatsBuild, gather_pieces, lay_piece, most_stars
from distcnn.catalogue.hats.files import main_folder, read_properties
from distcnn.catalogue.hats.pieces import SPATIAL_INDEX

__all__ = [
    "SPATIAL_INDEX",
    "HatsBuild",
    "gather_pieces",
    "lay_piece",
    "main_folder",
    "most_stars",
    "read_properties",
]
