"""Forecast: how long a survey of any size would take, from rates that were measured.

Two things can bind: the network's arithmetic and the unpacking of the survey. They overlap, so
the slower one counts. The forecast knows no queue, no shared disk and no failure.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from math import ceil

import torch
import yaml
from torch.utils.flop_counter import FlopCounterMode

from distcnn.config import NetworkConfig, StoreConfig, conf_folder
from distcnn.errors import UsageError
from distcnn.formatting import format_duration
from distcnn.inference.plan import bytes_per_star
from distcnn.model import InputSpec, build_network
from distcnn.schema import DEFAULT_LABELS

BANDS = ("g", "bp", "rp")
COEFFICIENTS = 110
"""XP coefficients of a star, BP and RP together."""
REGION_STARS = StoreConfig().shard_stars
"""A region is a shard of the default layout."""
PIXEL_BYTES = 4
"""Of the survey, before compression: int16 flux and float16 error."""
OTHER_BYTES = 4 * COEFFICIENTS + 60
"""Of a star besides its spectrum: XP, magnitudes, parallax, identifier, position."""


@dataclass(frozen=True)
class DeviceRates:
    """What one device of a kind does; see ``conf/devices/rates.yaml``.

    ``measured``: where the rates are from, "" = they are estimates.
    """

    flop_per_s: float
    decode_bytes_per_s: float
    region_seconds: float
    measured: str


@dataclass(frozen=True)
class Forecast:
    """What a run would take. ``measured``: where the rates are from, "" = they are estimates."""

    stars: int
    pixels: int
    members: int
    devices: int
    kind: str
    measured: str
    flop_per_star: float
    compute_seconds: float
    decode_seconds: float
    bytes_read: float
    bytes_written: float
    regions: int
    overhead_seconds: float

    @property
    def seconds(self) -> float:
        return max(self.compute_seconds, self.decode_seconds) + self.overhead_seconds

    @property
    def binds(self) -> str:
        each = {
            "arithmetic": self.compute_seconds,
            "unpacking": self.decode_seconds,
            "what regions cost besides": self.overhead_seconds,
        }
        return max(each, key=lambda name: each[name])

    def __str__(self) -> str:
        return "\n".join(f"{name:12s}{text}" for name, text in self._lines())

    def _lines(self) -> Iterable[tuple[str, str]]:
        yield "stars", f"{self.stars:,} of {self.pixels} pixels, {self.members} members of hybrid"
        yield "devices", f"{self.devices} x {self.kind}"
        yield "rates", self.measured or "ESTIMATED: nothing was measured on such a device"
        yield "time", f"{format_duration(self.seconds)} ({self.stars / self.seconds:,.0f} stars/s)"
        each = (self.compute_seconds, self.decode_seconds, self.overhead_seconds)
        compute, decode, rest = map(format_duration, each)
        yield "binds", self.binds
        yield "seconds", f"network {compute}, beside it unpacking {decode}; then regions {rest}"
        yield "arithmetic", f"{self.flop_per_star / 1e6:.1f} Mflop a star"
        yield "reads", f"{self.bytes_read / 1e9:,.0f} GB before compression"
        yield "writes", f"{self.bytes_written / 1e9:,.0f} GB at most"
        yield "tasks", f"{self.regions:,} regions of {REGION_STARS:,} stars"


def forecast(stars: int, pixels: int, members: int, devices: str) -> Forecast:
    """Time, bytes and tasks of a run with ``hybrid``.

    Parameters
    ----------
    devices : ``8xH200``: number and kind, one of those in ``conf/devices/rates.yaml``.

    Raises
    ------
    UsageError : a number is not positive, or no rates of such a device are known.
    """
    for name, value in (("stars", stars), ("pixels", pixels), ("members", members)):
        if value < 1:
            raise UsageError(f"{name} is {value}", expected="at least 1")
    count, kind, rates = _parse_devices(devices)
    flop = members * _flop_per_star(pixels)
    read = stars * (PIXEL_BYTES * pixels + OTHER_BYTES)
    regions = ceil(stars / REGION_STARS)
    return Forecast(
        stars=stars,
        pixels=pixels,
        members=members,
        devices=count,
        kind=kind,
        measured=rates.measured,
        flop_per_star=flop,
        compute_seconds=stars * flop / rates.flop_per_s / count,
        decode_seconds=read / rates.decode_bytes_per_s / count,
        bytes_read=read,
        bytes_written=stars * bytes_per_star(len(DEFAULT_LABELS)),
        regions=regions,
        overhead_seconds=ceil(regions / count) * rates.region_seconds,
    )


def _parse_devices(text: str) -> tuple[int, str, DeviceRates]:
    table = yaml.safe_load((conf_folder() / "devices" / "rates.yaml").read_text(encoding="utf-8"))
    found = re.fullmatch(r"(?:(\d+)x)?(.+)", text)
    kind = found[2] if found else text
    count = int(found[1] or 1) if found else 0
    if kind not in table or count < 1:
        raise UsageError(
            f"devices is {text!r}",
            expected=f"a number and one of {', '.join(table)}, as in 8x{next(iter(table))}",
            cure="Or name a cluster, as --cluster takes it. Measure another kind with "
            "benchmarks/inference.py and add its rates.",
        )
    return count, kind, DeviceRates(**table[kind])


def _flop_per_star(pixels: int) -> float:
    """Floating point operations of one member, counted on the network itself."""
    spec = InputSpec(pixels, COEFFICIENTS, BANDS, True, "forecast", DEFAULT_LABELS)
    network = build_network(spec, NetworkConfig(), seed=0).eval()
    widths = {"spectrum": pixels, "xp": COEFFICIENTS, "scalars": len(spec.features)}
    with torch.inference_mode(), FlopCounterMode(display=False) as flops:
        network.layers({name: torch.zeros(2, width) for name, width in widths.items()})
    return float(flops.get_total_flops()) / 2
