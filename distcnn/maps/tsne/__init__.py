"""The map of spectra: training and observed stars side by side, and who is unlike training."""

from distcnn.maps.tsne.plan import TsnePlan
from distcnn.maps.tsne.run import map_tsne, novelty_of, open_sources, plan_tsne

__all__ = ["TsnePlan", "map_tsne", "novelty_of", "open_sources", "plan_tsne"]
