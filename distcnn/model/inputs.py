"""Inputs: what a network is given for a star, and what the survey must offer for it.

Tensors travel by the names of ``modalities.MODALITIES``. Missing values are NaN everywhere; the
network itself turns them into zeros and indicators. A modality that a network does not use has
width 0, or no tensor at all.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor

from distcnn import hashing
from distcnn.arrays import Array
from distcnn.config import NetworkConfig
from distcnn.errors import GridMismatch, PackageError, TrainingError
from distcnn.modalities import BUILT_IN, MODALITIES, Modality
from distcnn.schema import SURVEY_VARIABLES
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
    scalars : further modalities of one number per star (``modalities.scalar``) that are used.
    """

    pixels: int
    coefficients: int
    bands: tuple[str, ...]
    astrometry: bool
    wavelength_digest: str
    labels: tuple[str, ...]
    scalars: tuple[str, ...] = ()

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
        widths = {
            row.name: sum(_width(store, name) for name in row.variables)
            if row.variables[0] in has and (not row.switch or getattr(network, row.switch))
            else 0
            for row in MODALITIES
        }
        bands = store.coordinate("band") if widths["photometry"] else ()
        spec = cls(
            pixels=widths["flux"],
            coefficients=widths["xp"],
            bands=tuple(str(band) for band in bands),
            astrometry=widths["astrometry"] > 0,
            wavelength_digest=grid_digest(store.coordinate("wavelength")) if widths["flux"] else "",
            labels=_labels(store, labels),
            scalars=tuple(name for name in widths if name not in BUILT_IN and widths[name]),
        )
        if not any(width for name, width in spec.widths.items() if name != "snr"):
            raise TrainingError(
                f"the network uses nothing that {store.location.name} holds",
                expected=f"one of {', '.join(sorted(has))}",
                cure="Switch a branch of train.network on.",
            )
        return spec

    @property
    def widths(self) -> dict[str, int]:
        """Numbers per star of every tensor, by modality; 0 = the network does not use it."""
        built_in = {
            "flux": self.pixels,
            "xp": self.coefficients,
            "photometry": len(self.bands),
            "astrometry": 2 * self.astrometry,
            "snr": 1,
        }
        return {
            row.name: built_in.get(row.name, 1)
            for row in MODALITIES
            if row.name in built_in or row.name in self.scalars
        }

    @property
    def modalities(self) -> tuple[Modality, ...]:
        """Rows of the modalities that are used, in the order of the table."""
        widths = self.widths
        return tuple(row for row in MODALITIES if widths.get(row.name))

    @property
    def features(self) -> tuple[str, ...]:
        """Names of the S scalar features, in order."""
        return tuple(name for row in self.modalities for name in self.features_of(row))

    def features_of(self, row: Modality) -> tuple[str, ...]:
        """Names of the scalar features that a modality brings; all of them vanish with it."""
        return row.features(self.bands)

    @property
    def variables(self) -> tuple[str, ...]:
        """Names of the survey variables to read for these inputs."""
        return tuple(name for row in self.modalities for name in row.variables)

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
                    f"{store.location.name} has {met.size} pixels from {met[0]:g} to {met[-1]:g}",
                    expected=f"the wavelength grid of the training survey ({self.pixels} pixels)",
                    cure="Ingest the archive with the settings of the training survey.",
                )
        if self.bands and "photometry" in store.variables:
            band_columns(self.bands, [str(band) for band in store.coordinate("band")])

    def to_json(self) -> dict[str, Any]:
        """As manifests hold it; ``scalars`` only where there are some."""
        value = {name: list(v) if isinstance(v, tuple) else v for name, v in asdict(self).items()}
        return {name: v for name, v in value.items() if name != "scalars" or v}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> "InputSpec":
        """From ``to_json``, of any package of format 2."""
        fields = {name: tuple(v) if isinstance(v, list) else v for name, v in value.items()}
        return cls(**cast(dict[str, Any], fields))


Batch = dict[str, Tensor]
"""The argument of a network: tensors [B,W] by modality, NaN = missing."""


@dataclass(frozen=True)
class StarInputs:
    """Inputs of B stars by modality, float32 [B,W], NaN = missing.

    ``flux [B,P]``, ``xp [B,C]``, ``photometry [B,K]`` mag, ``astrometry [B,2]`` mas,
    ``snr [B,1]``, and further scalars [B,1].
    """

    arrays: Mapping[str, Array]

    def __getitem__(self, name: str) -> Array:
        return self.arrays[name]

    def __len__(self) -> int:
        return len(self.arrays["snr"])

    def take(self, rows: slice | Array) -> "StarInputs":
        """The stars at ``rows``."""
        return StarInputs({name: array[rows] for name, array in self.arrays.items()})

    def replaced(self, **arrays: Array) -> "StarInputs":
        """The same stars with other arrays of some modalities."""
        return StarInputs({**self.arrays, **arrays})

    def without(self, *names: str) -> "StarInputs":
        """The same stars with modalities hidden: all their numbers are missing."""
        return self.replaced(**{name: np.full_like(self.arrays[name], np.nan) for name in names})

    @classmethod
    def joined(cls, parts: Sequence["StarInputs"]) -> "StarInputs":
        """Stars of all parts, of which there is at least one."""
        names = parts[0].arrays
        return cls({name: np.concatenate([part.arrays[name] for part in parts]) for name in names})

    def tensors(self, rows: slice = slice(None), device: str = "cpu") -> Batch:
        """Those rows as tensors; on the CPU they share memory with the arrays."""
        arrays = self.arrays.items()
        return {name: torch.from_numpy(array[rows]).to(device) for name, array in arrays}

    def batches(self, size: int, device: str = "cpu") -> Iterator[Batch]:
        """All stars, ``size`` at a time, in order."""
        for start in range(0, len(self), size):
            yield self.tensors(slice(start, start + size), device)

    def variables(self) -> dict[str, Array]:
        """The survey variables that they are made of; see ``variables_of``."""
        return variables_of(self.arrays)


def variables_of(stars: Mapping[str, Any]) -> dict[str, Any]:
    """The survey variables that arrays or tensors by modality are made of, those of one number
    as [B]; what the network does not use is absent.
    """
    out: dict[str, Any] = {}
    for row in MODALITIES:
        values = stars.get(row.name)
        if values is None or not values.shape[1]:
            continue
        if _is_scalar(row.variables[0]):
            out |= {name: values[:, column] for column, name in enumerate(row.variables)}
        else:
            out[row.variables[0]] = values
    return out


def tensors_by_modality(variables: Mapping[str, Tensor], spec: InputSpec) -> Batch:
    """Inputs of a network from survey variables of B stars, float32, on one device.

    A variable that is absent counts as missing (NaN).

    Raises
    ------
    PackageError : a variable has another width than the network was trained on.
    """
    like = next(iter(variables.values()))
    rows = {row.name: row for row in MODALITIES}

    def tensor(name: str, width: int) -> Tensor:
        missing = torch.full((len(like), width), torch.nan, device=like.device)
        names = rows[name].variables
        if not _is_scalar(names[0]):
            values = variables.get(names[0], missing)[:, : None if width else 0]
        elif width:
            values = torch.stack([variables.get(n, missing[:, 0]) for n in names], dim=1)
        else:
            values = missing
        return _checked(values, names[0], width)

    return {name: tensor(name, width) for name, width in spec.widths.items()}


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
    given = dict(arrays)
    if "photometry" in given and bands is not None:
        columns = band_columns(spec.bands, [str(band) for band in bands])
        given["photometry"] = given["photometry"][:, columns]
    wanted = {name: given[name] for name in spec.variables if name in given}
    # Whatever else is given says how many stars there are.
    wanted = wanted or {"snr": np.full(len(next(iter(given.values()))), np.nan)}
    tensors = tensors_by_modality(
        {n: torch.from_numpy(np.ascontiguousarray(v, np.float32)) for n, v in wanted.items()}, spec
    )
    return StarInputs({name: tensor.numpy() for name, tensor in tensors.items()})


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


def _is_scalar(variable: str) -> bool:
    return len(SURVEY_VARIABLES[variable].dims) == 1


def _width(store: Store, variable: str) -> int:
    """Numbers per star of a variable of the survey, whether or not this survey has it."""
    _, *dims = SURVEY_VARIABLES[variable].dims
    return store.sizes[dims[0]] if dims else 1


def _checked(values: Tensor, variable: str, width: int) -> Tensor:
    if values.shape[1] != width:
        raise PackageError(
            f"{variable} has the shape {tuple(values.shape)}",
            expected=f"{(len(values), width)}, as in training",
            cure="Ingest the archive with the settings of the training survey.",
        )
    return values


def _labels(store: Store, wanted: Sequence[str] | None) -> tuple[str, ...]:
    known = (
        tuple(str(name) for name in store.coordinate("label")) if "label" in store.variables else ()
    )
    names = known if wanted is None else tuple(wanted)
    unknown = [name for name in names if name not in known]
    if not known:
        why = store.attrs.get("unlabelled")
        raise TrainingError(
            f"{store.location.name} has no labels" + (f": at its ingest {why}" if why else ""),
            expected="a survey ingested with a label table",
            cure="Put the label table into the archive folder, check ingest.labels, and ingest "
            "to another path.",
        )
    if unknown or not names:
        raise TrainingError(
            f"{store.location.name} has no label {', '.join(unknown) or 'at all'}",
            expected=f"labels among {', '.join(known) or 'those matched by ingest'}",
            cure="Correct train.labels, or ingest with a label table.",
        )
    return names
