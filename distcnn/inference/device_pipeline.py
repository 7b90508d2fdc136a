"""DevicePipeline: stars on their way through a device, one batch computed while others travel.

Values go as the store holds them (int16 codes, halves) into pinned memory and over a stream of
their own to the device. There they are widened, run through the whole ensemble, and reduced to
some thirty numbers per star, which come back while the next batch is computed.

Legend: B star of a batch, L label, K pair of labels.
"""

from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from distcnn.arrays import Array
from distcnn.inference.novelty_torch import NoveltyTorch
from distcnn.model import Batch, Ensemble, InputSpec
from distcnn.model.ensemble import Prediction
from distcnn.model.networks.covariance import pairs
from distcnn.quality import InputSummary, Novelty
from distcnn.survey import Quantised

Arrays = Mapping[str, Array]
STAGING_BUFFERS = 3
"""Batches under way: one arrives, one is computed, one goes home."""


@dataclass
class _StagingBuffer:
    """Room for one batch on both sides, reused for every third batch.

    ``sent``, ``done``: events on a GPU. ``rows``: the stars that are in it.
    """

    host: dict[str, Tensor]
    device: dict[str, Tensor]
    result: Tensor
    sent: Any = None
    done: Any = None
    rows: slice = field(default_factory=lambda: slice(0, 0))


class DevicePipeline:
    """Runs stars through an ensemble on a device, batch after batch of one size.

    Parameters
    ----------
    ensemble : on the device that it names.
    novelty : the package's reference for spectra, if it has one.
    quantised : how the survey holds variables as integers.
    """

    def __init__(
        self,
        ensemble: Ensemble,
        novelty: Novelty | None,
        spec: InputSpec,
        quantised: Mapping[str, Quantised],
    ) -> None:
        self.ensemble, self.spec, self.quantised = ensemble, spec, dict(quantised)
        self.device = torch.device(ensemble.device)
        self.measuring = None
        if novelty is not None and spec.pixels:
            self.measuring = NoveltyTorch(novelty).to(self.device)
        labels = len(spec.labels)
        self.widths = [labels, labels, labels, len(pairs(labels)), 1, 3, 1, 1]
        self._buffers: list[_StagingBuffer] = []
        self._made: Any = None
        cuda = self.device.type == "cuda"
        make: Any = torch.cuda.Stream
        self._copying = make(self.device) if cuda else None

    def __call__(
        self, arrays: Arrays, columns: Sequence[int], batch: int
    ) -> tuple[Prediction, InputSummary]:
        """Predict N stars.

        Parameters
        ----------
        arrays : survey variables of N stars as the store holds them.
        columns : those of ``photometry`` that the network uses.
        batch : stars at a time; a last, smaller batch is filled up with what is left there.
        """
        stars = len(next(iter(arrays.values())))
        sent = dict(self._wanted(arrays, columns))
        self._make_buffers(sent, batch)
        out = np.empty((stars, sum(self.widths)), np.float32)
        waiting: deque[_StagingBuffer] = deque()
        for number, start in enumerate(range(0, stars, batch)):
            if len(waiting) == STAGING_BUFFERS:
                self._collect(waiting.popleft(), out)
            slot = self._buffers[number % STAGING_BUFFERS]
            self._send(slot, sent, slice(start, min(start + batch, stars)))
            self._compute(slot)
            waiting.append(slot)
        for slot in waiting:
            self._collect(slot, out)
        return self._sorted(out, sent)

    def _wanted(self, arrays: Arrays, columns: Sequence[int]) -> Iterable[tuple[str, Array]]:
        """The variables that travel, each [N, width]."""
        names = self.spec.variables
        for name in (*names, "flux_error") if self.spec.pixels else names:
            if name == "photometry" and name in arrays:
                yield name, arrays[name][:, list(columns)]
            elif name in arrays:
                yield name, arrays[name].reshape(len(arrays[name]), -1)

    def _make_buffers(self, sent: Arrays, batch: int) -> None:
        shapes = {name: (values.shape[1], values.dtype) for name, values in sent.items()}
        if self._made == (shapes, batch):
            return
        pinned = self.device.type == "cuda"

        def room(width: int, dtype: Any, *, here: bool) -> Tensor:
            kind = torch.from_numpy(np.empty(0, dtype)).dtype
            if here:
                return torch.zeros((batch, width), dtype=kind, pin_memory=pinned)
            return torch.zeros((batch, width), dtype=kind, device=self.device)

        self._buffers = [
            _StagingBuffer(
                host={name: room(*shape, here=True) for name, shape in shapes.items()},
                device={name: room(*shape, here=False) for name, shape in shapes.items()},
                result=room(sum(self.widths), np.float32, here=True),
                sent=_event() if pinned else None,
                done=_event() if pinned else None,
            )
            for _ in range(STAGING_BUFFERS)
        ]
        self._made = (shapes, batch)

    def _send(self, slot: _StagingBuffer, sent: Arrays, rows: slice) -> None:
        slot.rows = rows
        for name, values in sent.items():
            slot.host[name].numpy()[: rows.stop - rows.start] = values[rows]
        with self._stream():
            for name, here in slot.host.items():
                slot.device[name].copy_(here, non_blocking=True)
            if self._copying is not None:
                slot.sent.record(self._copying)

    def _stream(self) -> AbstractContextManager[Any]:
        if self._copying is None:
            return nullcontext()
        stream: AbstractContextManager[Any] = torch.cuda.stream(self._copying)
        return stream

    def _compute(self, slot: _StagingBuffer) -> None:
        if self._copying is not None:
            torch.cuda.current_stream(self.device).wait_event(slot.sent)
        with torch.inference_mode():
            given = {name: self._wide(name, values) for name, values in slot.device.items()}
            stars = self._batch(given)
            evidence = self._evidence(stars, given.get("flux_error"))
            found = (*self.ensemble.combine_members(stars), *evidence)
            slot.result.copy_(torch.cat(found, dim=1), non_blocking=True)
        if self._copying is not None:
            slot.done.record(torch.cuda.current_stream(self.device))

    def _wide(self, name: str, values: Tensor) -> Tensor:
        """Float32 with NaN for missing."""
        wide = values.float()
        if name in self.quantised:
            how = self.quantised[name]
            wide = torch.where(values == how.fill, torch.nan, wide * how.step + how.offset)
        return wide

    def _batch(self, given: Mapping[str, Tensor]) -> Batch:
        rows = len(next(iter(given.values())))

        def one(name: str, width: int) -> Tensor:
            if width and name in given:
                return given[name]
            return torch.full((rows, width), torch.nan, device=self.device)

        there = int(self.spec.astrometry)
        return Batch(
            flux=one("flux", self.spec.pixels),
            xp=one("xp", self.spec.coefficients),
            photometry=one("photometry", len(self.spec.bands)),
            astrometry=torch.cat([one("parallax", there), one("parallax_error", there)], dim=1),
            snr=one("snr", 1),
        )

    def _evidence(self, stars: Batch, flux_error: Tensor | None) -> tuple[Tensor, ...]:
        """Valid fraction [B,1], measures [B,3], weight [B,1], whether XP is there [B,1]."""
        valid = torch.isfinite(stars.flux).float().mean(dim=1, keepdim=True)
        measures, weight = valid.expand(-1, 3), valid
        if self.measuring is not None:
            measures, weight = self.measuring(stars.flux, flux_error)
        return valid, measures, weight, torch.isfinite(stars.xp).any(dim=1, keepdim=True).float()

    def _collect(self, slot: _StagingBuffer, out: Array) -> None:
        if slot.done is not None:
            slot.done.synchronize()
        out[slot.rows] = slot.result.numpy()[: slot.rows.stop - slot.rows.start]

    def _sorted(self, out: Array, sent: Arrays) -> tuple[Prediction, InputSummary]:
        ends = np.cumsum(self.widths)[:-1]
        label, noise, scatter, correlation, valid, measures, weight, has_xp = (
            np.ascontiguousarray(part) for part in np.split(out, ends, axis=1)
        )
        missing = np.full((len(out), 1), np.nan, np.float32)
        magnitudes = sent.get("photometry", missing.repeat(len(self.spec.bands), axis=1))
        measured = self.measuring is not None
        evidence = InputSummary(
            snr=sent.get("snr", missing)[:, 0],
            valid=valid[:, 0] if self.spec.pixels else None,
            measures=measures if measured else None,
            weight=weight[:, 0] if measured else None,
            has_xp=has_xp[:, 0] > 0 if self.spec.coefficients else None,
            photometry=magnitudes if self.spec.bands else None,
            parallax=sent.get("parallax", missing)[:, 0] if self.spec.astrometry else None,
        )
        return Prediction(label, noise, scatter, correlation), evidence


def _event() -> Any:
    make: Any = torch.cuda.Event
    return make()
