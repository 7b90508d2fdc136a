"""Files in the published layout of each survey of ``conf/surveys``, of stars whose lines are known.

Every star has the known lines at its own velocity, a stated noise, some bad pixels marked as the
survey marks them, and an identifier as the survey writes it. Where the layout comes from, and how
sure it is, stands in the comment of each configuration.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from astropy.io import fits
from astropy.io.votable import from_table, writeto
from astropy.table import Table

from distcnn.air import to_vacuum
from distcnn.arrays import Array
from distcnn.ingest.preview.known_lines import KNOWN_LINES
from distcnn.schema import LIGHT_SPEED_KM_S

SNR = 100.0
VELOCITIES = (-60.0, 0.0, 35.0)
"""Velocity of each star [km/s], as the wavelengths of its file have it."""
BAD = slice(10, 14)
"""Pixels of every arm that are marked as bad."""
APOGEE_GRID = 10.0 ** (4.179 + 6e-6 * np.arange(8575))
BOSS_GRID = 10.0 ** (3.5523 + 1e-4 * np.arange(4648))


@dataclass(frozen=True)
class WrittenStar:
    """What a star of the files is called, and its velocity [km/s]."""

    name: str
    velocity: float


def spectrum(
    wavelength: Array, velocity: float, seed: int, *, air: bool = False, resolution: float = 7000.0
) -> tuple[Array, Array]:
    """Flux [P] around 1 and its sigma at wavelengths [Angstrom], lines at ``velocity``."""
    nanometres = np.asarray(wavelength, float) / 10
    vacuum = to_vacuum(nanometres) if air else nanometres
    width = LIGHT_SPEED_KM_S / resolution / 2.355
    flux = np.ones(len(vacuum))
    for place in KNOWN_LINES.values():
        offset = (vacuum / place - 1) * LIGHT_SPEED_KM_S - velocity
        flux -= 0.5 * np.exp(-0.5 * (offset / width) ** 2)
    rng = np.random.default_rng(seed)
    sigma = np.full(len(flux), 1 / SNR)
    return flux + sigma * rng.standard_normal(len(flux)), sigma


def _mask(pixels: int, value: int, kind: str) -> Array:
    mask = np.zeros(pixels, kind)
    mask[BAD] = value
    return mask


def _one_row(columns: dict[str, tuple[Array, str, str]], name: str) -> fits.BinTableHDU:
    """A table of one row of arrays: name -> values, letter of TFORM, unit."""
    made = [
        fits.Column(column, f"{len(values)}{letter}", unit or None, array=values[np.newaxis])
        for column, (values, letter, unit) in columns.items()
    ]
    return fits.BinTableHDU.from_columns(made, name=name)


def _write(path: Path, hdus: list[Any], **keywords: Any) -> None:
    primary = hdus[0] if isinstance(hdus[0], fits.PrimaryHDU) else fits.PrimaryHDU()
    primary.header.update(keywords)
    rest = hdus[1:] if primary is hdus[0] else hdus
    fits.HDUList([primary, *rest]).writeto(path)


def _lamost_lrs_dr9(folder: Path) -> Iterator[WrittenStar]:
    wavelength = 10 ** (3.5682 + 1e-4 * np.arange(3909))
    for number, velocity in enumerate(VELOCITIES):
        flux, sigma = spectrum(wavelength, velocity, number, resolution=1800)
        columns = {
            "FLUX": (2000 * flux, "E", ""),
            "IVAR": ((2000 * sigma) ** -2.0, "E", ""),
            "WAVELENGTH": (wavelength, "E", ""),
            "ANDMASK": (_mask(len(flux), 1, "f4"), "E", ""),
            "ORMASK": (_mask(len(flux), 1, "f4"), "E", ""),
            "NORMALIZATION": (flux, "E", ""),
        }
        keywords = {"OBSID": 101000 + number, "RA": 10.0, "DEC": 5.0, "VACUUM": True,
                    "HELIO": True, "Z": velocity / LIGHT_SPEED_KM_S}  # fmt: skip
        path = folder / f"spec-55859-F5902_sp01-{number:03d}.fits"
        _write(path, [_one_row(columns, "COADD")], **keywords)
        yield WrittenStar(str(101000 + number), velocity)


def _lamost_mrs_dr8(folder: Path) -> Iterator[WrittenStar]:
    arms = {"B": np.arange(4950.0, 5370.0, 0.11), "R": np.arange(6295.0, 6825.0, 0.14)}
    for number, velocity in enumerate(VELOCITIES):
        hdus: list[Any] = [fits.PrimaryHDU()]
        for arm, wavelength in arms.items():
            if (number, arm) == (2, "B"):
                hdus.append(fits.ImageHDU(name="COADD_B"))  # not combined: NAXIS = 0
                continue
            flux, sigma = spectrum(wavelength, velocity, number)
            columns = {
                "FLUX": (flux, "E", ""),
                "IVAR": (sigma**-2.0, "E", ""),
                "WAVELENGTH": (wavelength, "D", ""),
                "ANDMASK": (_mask(len(flux), 1, "i2"), "I", ""),
                "ORMASK": (_mask(len(flux), 1, "i2"), "I", ""),
                "NORMALIZATION": (flux, "E", ""),
            }
            hdus.append(_one_row(columns, f"COADD_{arm}"))
        keywords = {"OBSID": 681001000 + number, "RA": 10.0, "DEC": 5.0, "VACUUM": True,
                    "HELIO": True}  # fmt: skip
        _write(folder / f"med-58408-TD23_sp01-{number:03d}.fits", hdus, **keywords)
        yield WrittenStar(str(681001000 + number), velocity)


def _apogee_image(values: Array, unit: str) -> fits.ImageHDU:
    hdu = fits.ImageHDU(values)
    hdu.header.update(
        {"CRVAL1": 4.179, "CDELT1": 6e-6, "CRPIX1": 1, "CTYPE1": "LOG-LINEAR", "BUNIT": unit}
    )
    return hdu


def _apstar(folder: Path) -> Iterator[WrittenStar]:
    for number, velocity in enumerate(VELOCITIES):
        flux, sigma = spectrum(APOGEE_GRID, velocity, number, resolution=22500)
        error, mask = sigma.copy(), _mask(len(flux), 1, "i2")
        flux[500:520], error[500:520] = 0.0, 1e10  # between the detectors
        rows = 1 if number == 0 else 4
        images = [
            np.vstack([one, *[other] * (rows - 1)])
            for one, other in ((flux, 0 * flux), (error, error), (mask, mask))
        ]
        units = ["Flux (10^-17 erg/s/cm^2/Ang)", "Err (10^-17 erg/s/cm^2/Ang)", "Mask"]
        hdus = [
            _apogee_image(a[0] if rows == 1 else a, u) for a, u in zip(images, units, strict=True)
        ]
        name = f"2M0000000{number}+0000000"
        _write(folder / f"apStar-r12-{name}.fits", hdus, OBJID=name, RA=1.0, DEC=2.0, SNR=SNR)
        yield WrittenStar(name, velocity)


def _aspcapstar(folder: Path) -> Iterator[WrittenStar]:
    for number, velocity in enumerate(VELOCITIES):
        flux, sigma = spectrum(APOGEE_GRID, velocity, number, resolution=22500)
        flux[500:520], sigma[500:520] = 0.0, 0.0
        hdus = [_apogee_image(values, "") for values in (flux, sigma, flux)]
        name = f"2M0000000{number}+0000000"
        _write(folder / f"aspcapStar-r12-{name}.fits", hdus)
        yield WrittenStar(name, velocity)


def _mwm(folder: Path, instrument: str) -> Iterator[WrittenStar]:
    grids = {"BOSS": BOSS_GRID, "APOGEE": APOGEE_GRID}
    for number, velocity in enumerate(VELOCITIES):
        hdus: list[Any] = [fits.PrimaryHDU()]
        for other, grid in grids.items():
            for place, observatory in enumerate(("APO", "LCO")):
                there = other == instrument and place == number % 2
                resolution = 22500 if other == "APOGEE" else 2000
                flux, sigma = spectrum(grid, velocity, number, resolution=resolution)
                hdus.append(_mwm_table(grid, flux, sigma, 54000 + number, int(there)))
                hdus[-1].name = f"{other}/{observatory}"
        _write(folder / f"mwmStar-0.6.0-{54000 + number}.fits", hdus, SDSS_ID=54000 + number)
        yield WrittenStar(str(54000 + number), velocity)


def _mwm_table(grid: Array, flux: Array, sigma: Array, star: int, rows: int) -> fits.BinTableHDU:
    """A table of one row, or of none where the star was not observed."""
    form = f"{len(grid)}E"
    flags = _mask(len(grid), 1, "f4")
    arrays = {"wavelength": grid, "flux": flux, "ivar": sigma**-2.0, "pixel_flags": flags,
              "continuum": np.ones(len(grid)), "nmf_rectified_model_flux": flux}  # fmt: skip
    columns = [
        fits.Column("sdss_id", "K", array=np.full(rows, star)),
        fits.Column("snr", "E", array=np.full(rows, SNR)),
        fits.Column("v_rad", "E", array=np.full(rows, 12.0)),
    ]
    columns += [
        fits.Column(name, form, array=np.tile(values, (rows, 1))) for name, values in arrays.items()
    ]
    table = fits.BinTableHDU.from_columns(columns)
    table.header.update({"CTYPE": "LOG-LINEAR", "CUNIT": "Angstrom (Vacuum)"})
    return table


def _galah(folder: Path) -> Iterator[WrittenStar]:
    windows = {1: (4713.6, 4902.0), 2: (5648.9, 5872.0), 3: (6478.0, 6736.0), 4: (7585.0, 7885.0)}
    for number, velocity in enumerate(VELOCITIES):
        star = f"14020500230100{number}"
        for ccd, (low, high) in windows.items():
            if (number, ccd) == (2, 1):
                continue  # a CCD may be missing
            wavelength = low + 0.06 * np.arange(int((high - low) / 0.06))
            flux, sigma = spectrum(wavelength, velocity, number, air=True, resolution=28000)
            relative = sigma / flux
            relative[BAD] = np.nan
            keywords = {"CRVAL1": low, "CDELT1": 0.06, "CRPIX1": 1.0, "CTYPE1": "Wavelength",
                        "CUNIT1": "Angstroms"}  # fmt: skip
            hdus = [fits.PrimaryHDU(900 * flux)]
            hdus += [fits.ImageHDU(a) for a in (relative, 900 * flux, relative, flux)]
            for hdu in hdus:
                hdu.header.update(keywords)
            _write(folder / f"{star}{ccd}.fits", hdus, ORIGIN="GALAH")
        yield WrittenStar(star, velocity)


def eso_table(
    wavelength: Array, flux: Array, sigma: Array, names: dict[str, str], extra: dict[str, Any]
) -> fits.BinTableHDU:
    """The one row of an ESO science data product, in air."""
    unit = "erg cm**(-2) s**(-1) Angstrom**(-1)"
    columns = {
        names["wave"]: (wavelength, "D", "Angstrom"),
        names["flux"]: (1e-16 * flux, "D", unit),
        names["error"]: (1e-16 * sigma, "D", unit),
        **extra,
    }
    table = _one_row(columns, names.get("table", "SPECTRUM"))
    for number, (kind, ucd) in enumerate(
        (("SpectralAxis.Value", "em.wl;obs.atmos"),
         ("FluxAxis.Value", "phot.flux.density;em.wl;meta.main"),
         ("FluxAxis.Accuracy.StatError", "stat.error;phot.flux.density;meta.main")), 1
    ):  # fmt: skip
        table.header[f"TUTYP{number}"] = f"spec:Data.{kind}"
        table.header[f"TUCD{number}"] = ucd
    table.header.update({"NELEM": len(wavelength), "VOCLASS": "SPECTRUM V2.0"})
    return table


def _fourmost(folder: Path) -> Iterator[WrittenStar]:
    wavelength = 3700.0 + 0.25 * np.arange(23201)
    names = {"wave": "WAVE", "flux": "FLUX", "error": "ERR_FLUX", "table": "PHASE3SPECTRUM"}
    for number, velocity in enumerate(VELOCITIES):
        flux, sigma = spectrum(wavelength, velocity, number, air=True, resolution=6500)
        quality = _mask(len(flux), 1, "i4")
        quality[20] = -1
        extra = {
            "QUAL": (quality, "J", ""),
            "FLUX_NOSS": (1e-16 * flux, "D", ""),
            "ERR_FLUX_NOSS": (1e-16 * sigma, "D", ""),
        }
        table = eso_table(wavelength, flux, sigma, names, extra)
        table.header["TNULL4"] = -1
        keywords = {"SPECSYS": "HELIOCEN", "TRG_UID": 7000 + number, "CNAME": f"0000{number}",
                    "CONTNORM": False, "FLUXCAL": "ABSOLUTE"}  # fmt: skip
        _write(folder / f"qmost_{number}.fits", [table], **keywords)
        yield WrittenStar(str(7000 + number), velocity)


_GES = {"HR10": (5339.0, 5619.0), "HR21": (8484.0, 9001.0), "HR15N": (6440.0, 6815.0)}


def _ges(folder: Path, setups: tuple[str, ...]) -> Iterator[WrittenStar]:
    names = {"wave": "WAVE", "flux": "FLUX", "error": "ERR"}
    for number, velocity in enumerate(VELOCITIES):
        star = f"1234567{number}-7654321"
        for place, setup in enumerate(setups):
            low, high = _GES[setup]
            wavelength = np.arange(low, high, 0.05)
            flux, sigma = spectrum(wavelength, velocity, number, air=True, resolution=17000)
            flux[BAD] = np.nan
            table = eso_table(wavelength, flux, sigma, names, {})
            keywords = {"SPECSYS": "BARYCENT", "OBJECT": star, "CONTNORM": False,
                        "WAVELMIN": low / 10, "WAVELMAX": high / 10, "SNR": SNR}  # fmt: skip
            path = folder / f"ADP.2020-01-0{number + 1}T00_00_0{place}.fits"
            _write(path, [table], **keywords)
        yield WrittenStar(star, velocity)


def _weave(folder: Path) -> Iterator[WrittenStar]:
    wavelength = 5790.0 + 0.5 * np.arange(7600)
    pairs = [spectrum(wavelength, v, n, resolution=5000) for n, v in enumerate(VELOCITIES)]
    pairs.append((np.zeros(len(wavelength)), np.full(len(wavelength), 0.1)))  # a sky fibre
    flux = np.array([pair[0] for pair in pairs])
    ivar = np.array([pair[1] for pair in pairs]) ** -2.0
    ivar[:, BAD] = 0
    images = {"RED_DATA": flux, "RED_IVAR": ivar, "RED_DATA_NOSS": flux, "RED_IVAR_NOSS": ivar,
              "RED_SENSFUNC": np.ones(flux.shape)}  # fmt: skip
    hdus: list[Any] = [fits.PrimaryHDU()]
    for name, values in images.items():
        hdus.append(fits.ImageHDU(values, name=name))
        hdus[-1].header.update({"CRVAL1": 5790.0, "CD1_1": 0.5, "CRPIX1": 1.0, "CTYPE1": "WAVE",
                                "CUNIT1": "Angstrom", "SPECSYS": "BARYCENT"})  # fmt: skip
    names = [f"star_{number}" for number in range(len(VELOCITIES))]
    columns = [
        fits.Column("FIBREID", "J", array=np.arange(len(pairs))),
        fits.Column("TARGID", "30A", array=[*names, "sky_1"]),
        fits.Column("TARGUSE", "1A", array=["T"] * len(names) + ["S"]),
    ]
    hdus.append(fits.BinTableHDU.from_columns(columns, name="FIBTABLE"))
    _write(folder / "single_1002081.fit", hdus)
    yield from map(WrittenStar, names, VELOCITIES)


def _rave(folder: Path) -> Iterator[WrittenStar]:
    wavelength = 8410.0 + 0.38 * np.arange(1010)
    for number, velocity in enumerate(VELOCITIES):
        flux, sigma = spectrum(wavelength, velocity, number, air=True, resolution=7500)
        sigma[BAD] = 0
        hdus: list[Any] = [fits.PrimaryHDU()]
        for name, values in (("SPECTRUM", flux), ("ERROR", sigma)):
            hdus.append(fits.ImageHDU(values, name=name))
            hdus[-1].header.update({"CRVAL1": 8410.0, "CDELT1": 0.38, "CRPIX1": 1.0})
        star = f"20040629_2318m03_00{number}"
        _write(folder / f"RAVE_{star}.fits", hdus)
        yield WrittenStar(star, velocity)


def _gaia_dr4(folder: Path, name: str, fmt: str) -> Iterator[WrittenStar]:
    wavelength = 10 * (846.0 + 0.025 * np.arange(961))
    pairs = [spectrum(wavelength, v, n, resolution=11500) for n, v in enumerate(VELOCITIES)]
    flux, error = (np.array([pair[n] for pair in pairs]) for n in (0, 1))
    flux[:, BAD] = error[:, BAD] = np.nan
    stars = [4611686018427387904 + number for number in range(len(VELOCITIES))]
    table = Table({"source_id": stars, "flux": flux.astype("f4"), "flux_error": error.astype("f4")})
    path = folder / f"{name}-Gaia DR4.{fmt}"
    if fmt == "fits":
        table.write(path)
    elif fmt == "parquet":
        columns = {column: list(table[column]) for column in table.colnames}
        pq.write_table(pa.table(columns), path)
    elif fmt == "xml":
        writeto(from_table(table), str(path), tabledata_format="binary2")
    else:
        text = [f'{row[0]},"{_tuple(row[1])}","{_tuple(row[2])}"' for row in table]
        path.write_text("\n".join(["source_id,flux,flux_error", *text, ""]))
    yield from (WrittenStar(str(s), v) for s, v in zip(stars, VELOCITIES, strict=True))


def _tuple(values: Array) -> str:
    """An array as DataLink's CSV of DR4 writes it."""
    return f"({', '.join('NaN' if np.isnan(v) else repr(float(v)) for v in values)})"


def _hats(folder: Path) -> Iterator[WrittenStar]:
    place = folder / "dataset" / "Norder=1" / "Dir=0"
    place.mkdir(parents=True)
    rows = []
    for number, velocity in enumerate(VELOCITIES):
        pixels = 3840 - 10 * number
        wavelength = 10 ** (3.5798 + 1e-4 * np.arange(pixels))
        flux, sigma = spectrum(wavelength, velocity, number, resolution=2000)
        inverse = sigma**-2.0
        inverse[BAD] = 0
        mask = np.zeros(pixels, bool)
        rows.append({"flux": flux, "ivar": inverse, "lambda": wavelength, "mask": mask,
                     "lsf_sigma": sigma})  # fmt: skip
    names = [f"mmu-{number}" for number in range(len(VELOCITIES))]
    table = pa.table(
        {
            "object_id": names,
            "ra": [1.0] * len(names),
            "dec": [2.0] * len(names),
            "spectrum": [{k: v.tolist() for k, v in row.items()} for row in rows],
            "_healpix_29": list(range(len(names))),
        }
    )
    pq.write_table(table, place / "Npix=44.parquet")
    yield from map(WrittenStar, names, VELOCITIES)


def _mmu(folder: Path) -> Iterator[WrittenStar]:
    """HDF5 of the Multimodal Universe: rows padded behind their last pixel."""
    pixels = 3840
    columns: dict[str, list[Array]] = {name: [] for name in ("flux", "ivar", "lambda", "mask")}
    for number, velocity in enumerate(VELOCITIES):
        own = pixels - 10 * number
        wavelength = 10 ** (3.5798 + 1e-4 * np.arange(own))
        flux, sigma = spectrum(wavelength, velocity, number, resolution=2000)
        inverse = sigma**-2.0
        inverse[BAD] = 0
        more = (0, pixels - own)
        columns["flux"].append(np.pad(flux, more, "edge"))
        columns["ivar"].append(np.pad(inverse, more))
        columns["lambda"].append(np.pad(wavelength, more, constant_values=-1.0))
        columns["mask"].append(np.pad(inverse == 0, more, constant_values=True))
    names = [f"mmu-{number}" for number in range(len(VELOCITIES))]
    place = folder / "healpix=1172"
    place.mkdir()
    with h5py.File(place / "001-of-001.hdf5", "w") as file:
        file["object_id"] = np.array(names, "S20")
        file["ra"], file["dec"] = [1.0] * len(names), [2.0] * len(names)
        file["healpix"] = [1172] * len(names)
        for name, rows in columns.items():
            kind = bool if name == "mask" else "f4"
            file[f"spectrum_{name}"] = np.array(rows).astype(kind)
    yield from (WrittenStar(n, v) for n, v in zip(names, VELOCITIES, strict=True))


WRITERS: dict[str, Callable[[Path], Iterator[WrittenStar]]] = {
    "lamost_lrs_dr9": _lamost_lrs_dr9,
    "lamost_mrs_dr8": _lamost_mrs_dr8,
    "apogee_apstar": _apstar,
    "apogee_aspcapstar": _aspcapstar,
    "mwm": lambda folder: _mwm(folder, "APOGEE"),
    "mwm_boss": lambda folder: _mwm(folder, "BOSS"),
    "galah_dr3": _galah,
    "fourmost_lr": _fourmost,
    "ges_hr15n": lambda folder: _ges(folder, ("HR15N",)),
    "ges_hr10_hr21": lambda folder: _ges(folder, ("HR10", "HR21")),
    "weave": _weave,
    "rave_dr6": _rave,
    "gaia_rvs_dr4": lambda folder: _gaia_dr4(folder, "MEAN_SPECTRUM_RVS", "xml"),
    "gaia_rvs_epoch_dr4": lambda folder: _gaia_dr4(folder, "EPOCH_SPECTRUM_RVS", "csv"),
    "hats": _hats,
    "mmu": _mmu,
}
"""Configuration -> what writes files in its published layout into a folder."""


def write_survey(name: str, folder: Path) -> list[WrittenStar]:
    """Write the files of a survey; returns its stars in their order."""
    folder.mkdir(parents=True, exist_ok=True)
    return list(WRITERS[name](folder))
