"""Expected components: the spectrum that the rest of a star's light leads one to expect.

XP, magnitudes and parallax tell temperature, luminosity and, less well, metals. A spectrum with the
light of a second star in it may look like that of a single one, at velocities that are alike; but
not like that of this one. Principal components of spectra are a quadratic function of the colours,
of the shape of XP and of the luminosity, fitted to training stars by ridge regression; how far
those of a star are from it, in units of the scatter of training stars of such noise, is what blends
are told by beside the spectrum itself.

Legend: N star, C coefficient of XP, A axis, F column, Q term, k component, E expected one, G bin of
weight.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from distcnn.arrays import Array
from distcnn.quality.novelty.array_fields import ArrayFields
from distcnn.quality.novelty.principal import leading_vectors
from distcnn.quality.novelty.weight_bins import along_weight, weight_bins

OTHER_LIGHT = ("xp", "photometry", "parallax", "parallax_error")
"""Survey variables that are read, where there are any."""
EXPECTED, XP_AXES = 16, 12
"""Leading components of the spectrum that are expected; of the shape of XP that tell of them."""
MOST_SPREADS = 6.0
"""Columns are cut off there."""
STARS_PER_TERM, PENALTY = 10, 3.0
"""Training stars per term that a fit needs; ridge penalty in squared columns of unit spread."""
LUMINOSITY_SCALE = 3.0
"""Of the inverse hyperbolic sine, so that parallaxes of noise alone, of either sign, are held."""
_USUAL = 0.5
"""What fewer training stars have is not asked of a star."""
Light = Mapping[str, Any]


def other_light(variables: Light) -> dict[str, Any]:
    """Those of the variables of N stars that tell of their light beside the spectrum."""
    return {
        name: variables[name]
        for name in OTHER_LIGHT
        if name in variables and _width(variables[name])
    }


def light_of(light: Light | None, rows: Array | slice) -> dict[str, Any]:
    """The same of some of the stars."""
    return {name: values[rows] for name, values in (light or {}).items()}


def _width(values: Any) -> int:
    return int(np.prod(values.shape[1:], dtype=int))


def raw_columns(library: Any, light: Light, axes: Any, kinds: Mapping[str, bool]) -> Any:
    """[N, F] what is known of the other light; NaN where it is missing.

    ``library`` : ``numpy`` or ``torch``, whichever ``light`` and ``axes`` [C, A] are of.
    """
    parts = []
    if kinds["xp"]:
        xp = light["xp"]
        there = library.isfinite(xp)
        held = library.where(there, xp, 0.0)
        norm = library.sqrt((held * held).sum(1))
        shape = (held / norm[:, None]) @ axes
        parts.append(library.where(there.any(1)[:, None], shape, library.nan))
    if kinds["photometry"]:
        magnitudes = light["photometry"]
        parts += [magnitudes[:, 1:] - magnitudes[:, :1], magnitudes[:, :1]]
    if kinds["parallax"]:
        parallax, error = (light[name].reshape(-1, 1) for name in OTHER_LIGHT[2:])
        luminosity = parallax * 10.0 ** (0.2 * light["photometry"][:, :1] - 3.0)
        parts += [library.arcsinh(LUMINOSITY_SCALE * luminosity), library.log(error)]
    return library.hstack(parts)


def terms_of(library: Any, columns: Any, products: Any) -> Any:
    """[N, Q] one, columns [N, F] and products of two of them, [2, P] which."""
    one = library.ones_like(columns[:, :1])
    return library.hstack([one, columns, columns[:, products[0]] * columns[:, products[1]]])


@dataclass(frozen=True)
class ExpectedComponents(ArrayFields):
    """Expectation and its scatter.

    ``axes`` [C, A] of the shape of XP; ``kinds`` [3] whether XP, magnitudes, parallax are read;
    ``centre``, ``spread`` [F] of the columns; ``weights`` [Q, E]; ``grid`` [G] ln of the typical
    weight, ``scatter`` [G, E] there.
    """

    axes: Array
    kinds: Array
    centre: Array
    spread: Array
    weights: Array
    grid: Array
    scatter: Array

    @classmethod
    def fit(
        cls, light: Light, fitted: Array, weight: Array, seed: int
    ) -> "ExpectedComponents | None":
        """Fit to components [N, k] of training stars and ln of their typical weight [N].

        None where the survey has no other light, or too few stars have it.
        """
        kinds = _usual_kinds(light)
        if not any(kinds.values()):
            return None
        axes = _shape_axes(light["xp"], seed) if kinds["xp"] else np.zeros((0, 0), np.float32)
        columns = _quiet_columns(light, axes, kinds)
        whole = np.asarray(np.isfinite(columns).all(axis=1))
        count = columns.shape[1]
        if whole.sum() < STARS_PER_TERM * (1 + count):
            return None
        centre, spread = columns[whole].mean(axis=0), np.maximum(columns[whole].std(axis=0), 1e-6)
        terms = 1 + count + count * (count + 1) // 2
        quadratic = whole.sum() >= STARS_PER_TERM * terms
        ready = cls(
            axes=axes,
            kinds=np.array(list(kinds.values()), np.uint8),
            centre=centre.astype(np.float32),
            spread=spread.astype(np.float32),
            weights=np.zeros((terms if quadratic else 1 + count, min(EXPECTED, fitted.shape[1]))),
            grid=np.zeros(1),
            scatter=np.ones((1, 1)),
        )
        return ready._with_weights(columns[whole], fitted[whole], weight[whole])

    def _with_weights(self, raw: Array, fitted: Array, weight: Array) -> "ExpectedComponents":
        """Fitted to raw columns [N, F] without gaps."""
        columns, _ = self._scaled(raw)
        terms = terms_of(np, columns.astype(np.float64), self.products)
        target = fitted[:, : self.weights.shape[1]].astype(np.float64)
        normal = terms.T @ terms + PENALTY * np.eye(terms.shape[1])
        weights = np.linalg.solve(normal, terms.T @ target)
        residual = target - terms @ weights
        bins = [(middle, residual[inside].std(axis=0)) for middle, inside in weight_bins(weight)]
        return ExpectedComponents(
            **self.to_arrays()
            | {
                "weights": weights.astype(np.float32),
                "grid": np.array([middle for middle, _ in bins]),
                "scatter": np.stack([np.maximum(s, 1e-3) for _, s in bins]).astype(np.float32),
            }
        )

    @cached_property
    def reads(self) -> dict[str, bool]:
        """Whether XP, magnitudes, parallax are read."""
        return dict(zip(OTHER_LIGHT[:3], map(bool, self.kinds), strict=True))

    @cached_property
    def products(self) -> Array:
        """[2, P] pairs of columns whose products are terms; none of a linear fit."""
        count = len(self.centre)
        quadratic = len(self.weights) > 1 + count
        return np.stack(np.triu_indices(count)) if quadratic else np.zeros((2, 0), int)

    def covers(self, light: Light) -> bool:
        """Whether all variables that are read are there."""
        return all(name in light for name in _needed(self.reads))

    def columns(self, light: Light) -> tuple[Array, Array]:
        """[N, F] scaled, 0 where missing, and [N] bool whether all of a star is there."""
        return self._scaled(_quiet_columns(light, self.axes, self.reads))

    def _scaled(self, raw: Array) -> tuple[Array, Array]:
        whole = np.asarray(np.isfinite(raw).all(axis=1))
        scaled = np.clip((raw - self.centre) / self.spread, -MOST_SPREADS, MOST_SPREADS)
        return np.where(whole[:, None], scaled, 0).astype(np.float32), whole

    def residual(self, fitted: Array, weight: Array, light: Light) -> Array:
        """[N, E] components beyond what is expected, in units of the scatter of training stars.

        0 where something is missing, of which nothing is expected then.
        """
        count = self.weights.shape[1]
        if not self.covers(light):
            return np.zeros((len(fitted), count), np.float32)
        columns, whole = self.columns(light)
        off = fitted[:, :count] - terms_of(np, columns, self.products) @ self.weights
        off = off / along_weight(np.nan_to_num(weight), self.grid, self.scatter)
        return np.where(whole[:, None], off, 0).astype(np.float32)


def _needed(kinds: Mapping[str, bool]) -> list[str]:
    return [n for n in OTHER_LIGHT if kinds["parallax" if n == "parallax_error" else n]]


def _usual_kinds(light: Light) -> dict[str, bool]:
    """Which kinds most stars have; a luminosity needs a magnitude, too."""
    there = {name: name in light and _width(light[name]) > 0 for name in OTHER_LIGHT}
    usual = {
        "xp": there["xp"] and np.isfinite(light["xp"]).any(axis=1).mean() > _USUAL,
        "photometry": there["photometry"]
        and np.isfinite(light["photometry"]).all(axis=1).mean() > _USUAL,
    }
    parallax = there["parallax"] and there["parallax_error"] and usual["photometry"]
    usual["parallax"] = parallax and np.isfinite(light["parallax"]).mean() > _USUAL
    return {name: bool(value) for name, value in usual.items()}


def _quiet_columns(light: Light, axes: Array, kinds: Mapping[str, bool]) -> Array:
    with np.errstate(all="ignore"):  # of what is missing
        return np.asarray(raw_columns(np, light, axes, kinds))


def _shape_axes(xp: Array, seed: int) -> Array:
    """[C, A] directions along which the shapes of XP spread most, over the spread."""
    there = np.isfinite(xp).any(axis=1)
    held = np.where(np.isfinite(xp), xp, 0.0)[there].astype(np.float64)
    shape = held / np.maximum(np.linalg.norm(held, axis=1, keepdims=True), 1e-30)
    count = min(XP_AXES, shape.shape[1], len(shape) - 1)
    return leading_vectors(shape - shape.mean(axis=0), count, seed).T.astype(np.float32)
