"""Features of spectra for the map: principal components of training and observed spectra.

Found from the stars that the map is fitted to, of both kinds: the components of the training
spectra alone would hide how others differ from them. A missing pixel counts as the mean of all.
"""

from dataclasses import dataclass

import numpy as np
from sklearn.decomposition import PCA

from distcnn.arrays import Array


@dataclass(frozen=True)
class SpectrumFeatures:
    """``mean`` [P]; ``vectors`` [k, P], orthonormal, in the order of their variance."""

    mean: Array
    vectors: Array

    @classmethod
    def fit(cls, flux: Array, components: int, seed: int) -> "SpectrumFeatures":
        """Find them from spectra [N, P], NaN = missing."""
        good = np.isfinite(flux)
        seen = good.sum(axis=0)
        total = np.where(good, flux, 0.0).sum(axis=0, dtype=np.float64)
        mean = np.divide(total, seen, out=np.ones(len(seen)), where=seen > 0).astype(np.float32)
        residual = np.where(good, flux - mean, np.float32(0))
        components = min(components, *residual.shape)
        found = PCA(components, svd_solver="randomized", random_state=seed).fit(residual)
        return cls(mean + found.mean_.astype(np.float32), found.components_.astype(np.float32))

    def of(self, flux: Array) -> Array:
        """Float32 [N, k] of spectra [N, P]; a spectrum without a pixel is the mean."""
        residual = np.where(np.isfinite(flux), flux - self.mean, np.float32(0))
        return np.asarray(residual @ self.vectors.T, np.float32)
