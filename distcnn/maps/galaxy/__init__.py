"""The map of the Galaxy: distances, places, abundances by place, gradients, the halo."""

from distcnn.maps.galaxy.run import map_galaxy

__all__ = ["map_galaxy"]
