"""Inputs: what a network is given for a star, and what the survey must offer for it.

Missing values are NaN everywhere; the network itself turns them into zeros and indicators.
A modality that a network does not use has width 0.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from distcnn import hashing
from distcnn.arrays import Array
from distcnn.config import NetworkConfig
from distcnn.errors import GridMismatch, PackageError, TrainingError
from distcnn.survey import Store


@dataclass(frozen=True)
class InputSpec:
    """Widths and names of a network's inputs and outputs.

    Parameters
    ----------
    pixels, coefficients : samples of the spectrum, XP coefficients; 0 = not used.
    bands : photometric bands; the first is the reference of colours and luminosity.
    astrometry : whether parallax and its error are used.
    wavelength_digest : digest of the wavelength grid; empty without a spectrum.
    labels : names of the labels, in output order.
    """

    pixels: int
    coefficients: int
    bands: tuple[str, ...]
    astrometry: bool
    wavelength_digest: str
    labels: tuple[str, ...]

    @classmethod
    def of_survey(
        cls, store: Store, network: NetworkConfig, labels: Sequence[str] | None = None
    ) -> "InputSpec":
        """What ``network`` can use of a survey; ``labels`` None = all that the survey has.

        Raises
        ------
        TrainingError : the survey has no such label, or nothing that the network uses.
        """
        has = set(store.variables)
        spectrum = network.spectrum and "flux" in has
        bands = tuple(str(band) for band in store.coordinate("band")) if "photometry" in has else ()
        spec = cls(
            pixels=store.sizes["pixel"] if spectrum else 0,
            coefficients=store.sizes["coefficient"] if network.xp and "xp" in has else 0,
            bands=bands if network.photometry else (),
            astrometry=network.photometry and "parallax" in has,
            wavelength_digest=grid_digest(store.coordinate("wavelength")) if spectrum else "",
            labels=_labels(store, labels),
        )
        if not (spec.pixels or spec.coefficients or spec.bands or spec.astrometry):
            raise TrainingError(
                f"the network uses nothing that {store.path.name} holds",
                expected=f"one of {', '.join(sorted(has))}",
                cure="Switch a branch of train.network on.",
            )
        return spec

    @property
    def variables(self) -> tuple[str, ...]:
        """Names of the survey variables to read for these inputs."""
        wanted = {
            "flux": self.pixels,
            "xp": self.coefficients,
            "photometry": len(self.bands),
            "parallax": self.astrometry,
            "parallax_error": self.astrometry,
            "snr": True,
        }
        return tuple(name for name, used in wanted.items() if used)

    def check_survey(self, store: Store) -> None:
        """Refuse a survey whose spectra stand on another grid or whose bands are others.

        Raises
        ------
        GridMismatch : the wavelength grid is not the one trained on.
        PackageError : a band that the network needs does not exist in the survey.
        """
        if self.pixels and "flux" in store.variables:
            met = store.coordinate("wavelength")
            if grid_digest(met) != self.wavelength_digest:
                raise GridMismatch(
                    f"{store.path.name} has {met.size} pixels from {met[0]:g} to {met[-1]:g}",
                    expected=f"the wavelength grid of the training survey ({self.pixels} pixels)",
                    cure="Ingest the archive with the settings of the training survey.",
                )
        if self.bands and "photometry" in store.variables:
            band_columns(self.bands, [str(band) for band in store.coordinate("band")])

    def to_json(self) -> dict[str, Any]:
        return asdict(self) | {"bands": list(self.bands), "labels": list(self.labels)}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> "InputSpec":
        return cls(**{**value, "bands": tuple(value["bands"]), "labels": tuple(value["labels"])})


class Batch(NamedTuple):
    """The arguments of a network's ``forward``, in its order."""

    flux: Tensor
    xp: Tensor
    photometry: Tensor
    astrometry: Tensor
    snr: Tensor


@dataclass(frozen=True)
class StarInputs:
    """Inputs of B stars, float32, NaN = missing.

    ``flux [B,P]``, ``xp [B,C]``, ``photometry [B,K]`` mag, ``astrometry [B,2]`` mas,
    ``snr [B,1]``.
    """

    flux: Array
    xp: Array
    photometry: Array
    astrometry: Array
    snr: Array

    def __len__(self) -> int:
        return int(self.snr.shape[0])

    def arrays(self) -> dict[str, Array]:
        return {name: getattr(self, name) for name in Batch._fields}

    def take(self, rows: slice | Array) -> "StarInputs":
        """The stars at ``rows``."""
        return StarInputs(*(array[rows] for array in self.arrays().values()))

    def tensors(self, rows: slice = slice(None), device: str = "cpu") -> Batch:
        """Those rows as tensors; on the CPU they share memory with the arrays."""
        arrays = (array[rows] for array in self.arrays().values())
        return Batch(*(torch.from_numpy(array).to(device) for array in arrays))

    def batches(self, size: int, device: str = "cpu") -> Iterator[Batch]:
        """All stars, ``size`` at a time, in order."""
        for start in range(0, len(self), size):
            yield self.tensors(slice(start, start + size), device)


def star_inputs(
    arrays: Mapping[str, Array], spec: InputSpec, bands: Sequence[str] | None = None
) -> StarInputs:
    """Inputs of a network from what ``Store.read`` gives.

    Parameters
    ----------
    arrays : survey variables of N stars; a modality that is absent counts as missing (NaN).
    bands : names of the columns of ``photometry``; None = those of ``spec``.

    Raises
    ------
    PackageError : an array has another width than the network was trained on.
    """
    stars = len(next(iter(arrays.values())))
    photometry = arrays.get("photometry")
    if photometry is not None and bands is not None:
        photometry = photometry[:, band_columns(spec.bands, [str(band) for band in bands])]
    missing = np.full(stars, np.nan, np.float32)
    columns = [arrays.get(name, missing) for name in ("parallax", "parallax_error")]
    return StarInputs(
        flux=_wide(arrays.get("flux"), stars, spec.pixels, "flux"),
        xp=_wide(arrays.get("xp"), stars, spec.coefficients, "xp"),
        photometry=_wide(photometry, stars, len(spec.bands), "photometry"),
        astrometry=_wide(np.column_stack(columns), stars, 2 * spec.astrometry, "astrometry"),
        snr=_wide(arrays.get("snr", missing)[:, None], stars, 1, "snr"),
    )


def grid_digest(wavelength: Array) -> str:
    """Digest of a wavelength grid, as in package manifests."""
    return hashing.of_arrays({"wavelength": np.asarray(wavelength, np.float64)})


def band_columns(wanted: Sequence[str], known: Sequence[str]) -> list[int]:
    """Where the wanted bands stand among the known ones.

    Raises
    ------
    PackageError : a band is not there.
    """
    missing = [band for band in wanted if band not in known]
    if missing:
        raise PackageError(
            f"the survey has no band {', '.join(missing)}",
            expected=f"the bands {', '.join(wanted)}",
            cure="Name them in ingest, or train on the bands that exist.",
        )
    return [list(known).index(band) for band in wanted]


def _wide(array: Array | None, stars: int, width: int, name: str) -> Array:
    if width == 0:
        return np.empty((stars, 0), np.float32)
    if array is None:
        return np.full((stars, width), np.nan, np.float32)
    if array.shape != (stars, width):
        raise PackageError(
            f"{name} has the shape {array.shape}",
            expected=f"{(stars, width)}, as in training",
            cure="Ingest the archive with the settings of the training survey.",
        )
    return np.ascontiguousarray(array, np.float32)


def _labels(store: Store, wanted: Sequence[str] | None) -> tuple[str, ...]:
    known = (
        tuple(str(name) for name in store.coordinate("label")) if "label" in store.variables else ()
    )
    names = known if wanted is None else tuple(wanted)
    unknown = [name for name in names if name not in known]
    if unknown or not names:
        raise TrainingError(
            f"{store.path.name} has no label {', '.join(unknown) or 'at all'}",
            expected=f"labels among {', '.join(known) or 'those matched by ingest'}",
            cure="Correct train.labels, or ingest with a label table.",
        )
    return names
