"""Device pipeline: the one way from stored rows to predictions, on whatever device.

The steps are the same everywhere: widen what the store holds (int16 codes, float16) to float32,
sort it by modality, run the whole ensemble, and reduce the inputs to what quality needs of them
(``InputSummary``). Where the device is a GPU, rows travel as stored through pinned staging
buffers over a stream of their own, one batch on its way while another is computed, and all
results of a batch come home in one copy.

Legend: B star of a batch, N star, L label, K pair of labels.
"""

from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from distcnn.arrays import Array
from distcnn.inference.worker.novelty_torch import NoveltyTorch
from distcnn.model import Ensemble, InputSpec, Prediction
from distcnn.model.inputs import band_columns, tensors_by_modality, variables_of
from distcnn.quality import InputSummary, Novelty, summarise
from distcnn.survey import Quantised

Arrays = Mapping[str, Array]
Found = dict[str, Tensor]
"""Results of a batch by name, [B] or [B,W]: fields of ``Prediction``, then of the summary."""
STAGING_BUFFERS = 3
"""Batches under way: one arrives, one is computed, one goes home."""
CPU_BLOCK_STARS = 1024
"""Stars that are widened at a time on a CPU, or one batch if that is more: what is widened stays
in the cache for all that is done to it."""
CPU_BLOCK_PIXELS = 2401
"""Longer spectra than these are widened fewer at a time, for the same reason."""


def cpu_block_stars(batch: int, pixels: int) -> int:
    """Stars that are widened at a time on a CPU: whole batches."""
    stars = CPU_BLOCK_STARS * CPU_BLOCK_PIXELS // max(pixels, CPU_BLOCK_PIXELS)
    return batch * -(-stars // batch)


class DevicePipeline:
    """Runs stars through an ensemble, on the device that the ensemble is on.

    Parameters
    ----------
    novelty : the package's reference for spectra, if it has one.
    quantised : how the survey holds variables as integers.
    fast_path : on a CPU, do without staging, widen codes and measure novelty in numpy. Same
        results, tested in ``tests/inference/test_inference_device_pipeline.py``; measured gain:
        1.37 times the stars per CPU second (8 members by OpenVINO on an AVX-512 Xeon).
    """

    def __init__(
        self,
        ensemble: Ensemble,
        novelty: Novelty | None,
        spec: InputSpec,
        quantised: Mapping[str, Quantised],
        *,
        fast_path: bool = True,
    ) -> None:
        self.ensemble, self.spec, self.quantised = ensemble, spec, dict(quantised)
        self.device = torch.device(ensemble.device)
        self.in_place = fast_path and self.device.type == "cpu"
        self._novelty = novelty if spec.pixels else None
        self._novelty_torch: NoveltyTorch | None = None
        if self._novelty is not None and not self.in_place:
            self._novelty_torch = NoveltyTorch(self._novelty).to(self.device)
        self._staging: _Staging | None = None

    def __call__(
        self, arrays: Arrays, bands: Sequence[str], batch: int
    ) -> tuple[Prediction, InputSummary]:
        """Predict N stars.

        Parameters
        ----------
        arrays : survey variables of N stars as the store holds them.
        bands : names of the columns of ``photometry``.
        batch : stars per forward pass.
        """
        stored = self._stored(arrays, bands)
        stars = len(next(iter(stored.values())))
        blocks = self._in_place_blocks if self.in_place else self._staged_blocks
        parts = list(blocks(stored, stars, batch))
        found = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
        prediction = Prediction(**{name: found.pop(name) for name in Prediction._fields})
        return prediction, InputSummary(found)

    def _stored(self, arrays: Arrays, bands: Sequence[str]) -> dict[str, Array]:
        """The variables that are used, as stored, of the bands that the network knows."""
        names = [*self.spec.variables, *(["flux_error"] if self.spec.pixels else [])]
        stored = {name: arrays[name] for name in names if name in arrays}
        if "photometry" in stored:
            stored["photometry"] = stored["photometry"][:, band_columns(self.spec.bands, bands)]
        return stored

    def _in_place_blocks(self, stored: Arrays, stars: int, batch: int) -> Iterator[Arrays]:
        size = cpu_block_stars(batch, self.spec.pixels)
        for start in range(0, stars, size):
            rows = {name: torch.from_numpy(v[start : start + size]) for name, v in stored.items()}
            found = self._compute(rows, batch)
            yield {name: values.numpy() for name, values in found.items()}

    def _staged_blocks(self, stored: Arrays, stars: int, batch: int) -> Iterator[Arrays]:
        if self._staging is None or not self._staging.fits(stored, batch):
            self._staging = _Staging(stored, batch, self.device)
        staging, waiting = self._staging, deque[_StagingBuffer]()
        for number, start in enumerate(range(0, stars, batch)):
            if len(waiting) == STAGING_BUFFERS:
                yield staging.collect(waiting.popleft())
            buffer = staging.buffers[number % STAGING_BUFFERS]
            staging.send(buffer, stored, slice(start, min(start + batch, stars)))
            staging.keep(buffer, self._compute(staging.received(buffer), batch))
            waiting.append(buffer)
        for buffer in waiting:
            yield staging.collect(buffer)

    def _compute(self, stored: Mapping[str, Tensor], batch: int) -> Found:
        """The steps, in the order of their names here; what they give is on the device."""
        with torch.inference_mode():
            variables = {name: self._widen(name, values) for name, values in stored.items()}
            stars = tensors_by_modality(variables, self.spec)
            parts = [
                self.ensemble.predict_batch({n: v[rows : rows + batch] for n, v in stars.items()})
                for rows in range(0, len(stars["snr"]), batch)
            ]
            columns = zip(*parts, strict=True)
            fields = (torch.cat(column) if len(column) > 1 else column[0] for column in columns)
            prediction = dict(zip(Prediction._fields, fields, strict=True))
            # A modality that the network uses and the survey lacks counts as missing.
            seen: dict[str, Any] = {**variables, **variables_of(stars)}
            return {**prediction, **summarise(torch, seen, self._measures)}

    def _widen(self, name: str, values: Tensor) -> Tensor:
        """Float32 with NaN for missing."""
        how = self.quantised.get(name)
        if how is None:
            return values.to(torch.float32)
        if self.in_place:
            return torch.from_numpy(how.decode(values.numpy()))
        return torch.where(values == how.fill, torch.nan, values.float() * how.step + how.offset)

    def _measures(
        self, flux: Tensor, flux_error: Tensor | None, light: Mapping[str, Tensor]
    ) -> tuple[Tensor, Tensor] | None:
        """Novelty's measures [B,M] and typical weight [B]; None without a reference."""
        if self._novelty_torch is not None:
            return self._novelty_torch(flux, flux_error, light)  # type: ignore[no-any-return]
        if self._novelty is None:
            return None
        error = None if flux_error is None else flux_error.numpy()
        seen = {name: values.numpy() for name, values in light.items()}
        measures, weight = self._novelty.measures(flux.numpy(), error, seen)
        return torch.from_numpy(measures), torch.from_numpy(weight)


@dataclass(frozen=True)
class _Packing:
    """Where each named result stands in a row of numbers.

    ``columns`` : name, shape of one star's result, type.
    """

    columns: tuple[tuple[str, tuple[int, ...], torch.dtype], ...]

    @classmethod
    def of(cls, found: Found) -> "_Packing":
        return cls(tuple((name, tuple(v.shape[1:]), v.dtype) for name, v in found.items()))

    @staticmethod
    def pack(found: Found) -> Tensor:
        """All results side by side, float32 [B, width]."""
        return torch.cat([v.reshape(len(v), -1).float() for v in found.values()], dim=1)

    def unpack(self, rows: Tensor) -> dict[str, Array]:
        """The results by name, in memory of their own."""
        out: dict[str, Array] = {}
        start = 0
        for name, shape, dtype in self.columns:
            stop = start + int(np.prod(shape))
            # ``clone``: the buffer is filled anew while these are still in use.
            part = rows[:, start:stop].clone().reshape(len(rows), *shape)
            out[name], start = part.to(dtype).numpy(), stop
        return out


@dataclass
class _StagingBuffer:
    """Room for one batch on both sides, reused for every third batch.

    ``arrived``, ``done``: events on a GPU. ``rows``: the stars that are in it.
    """

    host: dict[str, Tensor]
    device: dict[str, Tensor]
    result: Tensor | None = None
    arrived: Any = None
    done: Any = None
    rows: slice = field(default_factory=lambda: slice(0, 0))


class _Staging:
    """Buffers for batches of one size and kind, and the copies into them and out again.

    A last, smaller batch is filled up with what is left in the buffer, since engines that record
    their work take one size of batch only.
    """

    def __init__(self, stored: Arrays, batch: int, device: torch.device) -> None:
        self.device, self.batch = device, batch
        self.kinds = _kinds(stored)
        self.pinned = device.type == "cuda"
        stream: Any = torch.cuda.Stream
        self._copies = stream(device) if self.pinned else None
        self._packing: _Packing | None = None
        self.buffers = [
            _StagingBuffer(
                host={name: self._room(*kind, here=True) for name, kind in self.kinds.items()},
                device={name: self._room(*kind, here=False) for name, kind in self.kinds.items()},
                arrived=_event() if self.pinned else None,
                done=_event() if self.pinned else None,
            )
            for _ in range(STAGING_BUFFERS)
        ]

    def fits(self, stored: Arrays, batch: int) -> bool:
        """Whether the buffers are made for such rows."""
        return self.kinds == _kinds(stored) and self.batch == batch

    def send(self, buffer: _StagingBuffer, stored: Arrays, rows: slice) -> None:
        """Begin to copy rows to the device."""
        buffer.rows = rows
        for name, values in stored.items():
            buffer.host[name].numpy()[: rows.stop - rows.start] = values[rows]
        with self._on_copy_stream():
            for name, here in buffer.host.items():
                buffer.device[name].copy_(here, non_blocking=True)
            if self._copies is not None:
                buffer.arrived.record(self._copies)

    def received(self, buffer: _StagingBuffer) -> dict[str, Tensor]:
        """The rows on the device; what is computed of them waits for their arrival."""
        if self._copies is not None:
            torch.cuda.current_stream(self.device).wait_event(buffer.arrived)
        return buffer.device

    def keep(self, buffer: _StagingBuffer, found: Found) -> None:
        """Begin to copy the results home."""
        self._packing = self._packing or _Packing.of(found)
        packed = _Packing.pack(found)
        if buffer.result is None:
            buffer.result = self._room((packed.shape[1],), packed.dtype, here=True)
        buffer.result.copy_(packed, non_blocking=True)
        if self._copies is not None:
            buffer.done.record(torch.cuda.current_stream(self.device))

    def collect(self, buffer: _StagingBuffer) -> dict[str, Array]:
        """Wait for the results of a batch; those of its own stars, by name."""
        if buffer.done is not None:
            buffer.done.synchronize()
        if self._packing is None or buffer.result is None:
            raise RuntimeError("nothing was computed from this buffer")
        return self._packing.unpack(buffer.result[: buffer.rows.stop - buffer.rows.start])

    def _on_copy_stream(self) -> AbstractContextManager[Any]:
        if self._copies is None:
            return nullcontext()
        stream: AbstractContextManager[Any] = torch.cuda.stream(self._copies)
        return stream

    def _room(self, shape: tuple[int, ...], dtype: torch.dtype, *, here: bool) -> Tensor:
        if here:
            return torch.zeros((self.batch, *shape), dtype=dtype, pin_memory=self.pinned)
        return torch.zeros((self.batch, *shape), dtype=dtype, device=self.device)


def _kinds(stored: Arrays) -> dict[str, tuple[tuple[int, ...], torch.dtype]]:
    """Shape of one star's values and type of every variable."""
    return {
        name: (values.shape[1:], torch.from_numpy(np.empty(0, values.dtype)).dtype)
        for name, values in stored.items()
    }


def _event() -> Any:
    make: Any = torch.cuda.Event
    return make()
