"""The stars of a simulated survey: where they are, what they are, how bright they look."""

from distcnn.simulate.galaxy.populations import POPULATIONS
from distcnn.simulate.galaxy.sky import SkyRange, split_sky
from distcnn.simulate.galaxy.stars import BANDS, SimulatedStars, draw_stars

__all__ = ["BANDS", "POPULATIONS", "SimulatedStars", "SkyRange", "draw_stars", "split_sky"]
