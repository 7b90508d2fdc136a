"""Fast path of one optimiser step per member: stacked parameters, one vmapped step for all.

Same results, tested in ``tests/training/test_training_vmap.py``; measured gain: see ``trainer``.

All parameters lie in two tensors: ``weights [M,W]``, which decay, and ``biases [M,V]``, which
do not. The optimiser, the clipping of gradients and the keeping of best weights then are a few
operations on long rows instead of a few hundred small ones, which a GPU would spend its time
launching. Every operation acts row by row, so one member's numbers never meet another's.

Legend: M member, B star of a batch, L label.
"""

import contextlib
import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn
from torch.func import functional_call, vmap

from distcnn.model.cuda_graphs import capture
from distcnn.training.data.tensors import Scaled
from distcnn.training.loop.fit import MAX_GRADIENT_NORM
from distcnn.training.loop.loss import training_loss, validation_loss

State = dict[str, Tensor]


@dataclass(frozen=True)
class ParameterShapes:
    """Names and shapes of one member's parameters: weights first, then biases."""

    weights: dict[str, torch.Size]
    biases: dict[str, torch.Size]

    @classmethod
    def of(cls, layers: nn.Module) -> "ParameterShapes":
        """Weights are parameters of two and more dimensions, as in ``loop``."""
        shapes = {name: parameter.shape for name, parameter in layers.named_parameters()}
        return cls(
            {name: shape for name, shape in shapes.items() if len(shape) > 1},
            {name: shape for name, shape in shapes.items() if len(shape) <= 1},
        )

    def join(self, states: Sequence[State], names: dict[str, torch.Size]) -> Tensor:
        return torch.stack([torch.cat([s[name].reshape(-1) for name in names]) for s in states])

    def cut(self, rows: Tensor, names: dict[str, torch.Size]) -> State:
        """Parameters [M,...] of rows [M,W].

        A single ``split``, whose gradient is a single ``cat``; slicing one by one would add a
        zero-padded [M,W] per parameter on the way back.
        """
        parts = torch.split(rows, [math.prod(shape) for shape in names.values()], dim=1)
        return {
            name: part.reshape(len(part), *shape)
            for (name, shape), part in zip(names.items(), parts, strict=True)
        }


class StackedMembers:
    """M members' parameters and their optimiser on one device.

    Parameters
    ----------
    layers : of one member, in product form and on the device; its own parameters are not used.
    states : parameters of each member.
    decay : weight decay of AdamW.
    precision : type of wide products; outputs and losses are float32 in any case.
    """

    def __init__(
        self,
        layers: nn.Module,
        states: Sequence[State],
        *,
        decay: float,
        precision: torch.dtype = torch.float32,
    ) -> None:
        self.layers, self.decay, self.precision = layers, decay, precision
        self.shapes = ParameterShapes.of(layers)
        self.device = next(layers.parameters()).device
        # A tensor, not a number: a recorded step reads the learning rate from where it lies.
        self.rate = torch.zeros((), device=self.device)
        weights = self.shapes.join(states, self.shapes.weights)
        biases = self.shapes.join(states, self.shapes.biases)
        self._begin([weights.to(self.device), biases.to(self.device)])

    def __len__(self) -> int:
        return int(self.rows[0].shape[0])

    def _begin(self, rows: list[Tensor]) -> None:
        self.rows = [tensor.detach().clone().requires_grad_() for tensor in rows]
        groups = [
            {"params": [rows], "weight_decay": decay}
            for rows, decay in zip(self.rows, (self.decay, 0.0), strict=True)
        ]
        self.optimiser = torch.optim.AdamW(
            groups, lr=self.rate, fused=True, capturable=self.device.type == "cuda"
        )
        # AdamW makes its state in the first step, which a graph cannot record.
        for row in self.rows:
            self.optimiser.state[row] = {
                "step": torch.zeros((), device=self.device),
                "exp_avg": torch.zeros_like(row),
                "exp_avg_sq": torch.zeros_like(row),
            }

    def tensors(self) -> list[Tensor]:
        """All that changes in a step: parameters, and the state of the optimiser."""
        moments = [tensor for row in self.rows for tensor in self.optimiser.state[row].values()]
        return [row.detach() for row in self.rows] + moments

    def restore(self, tensors: Sequence[Tensor]) -> None:
        """Put ``tensors()`` of before in place."""
        with torch.no_grad():
            for into, tensor in zip(self.tensors(), tensors, strict=True):
                into.copy_(tensor)

    def keep(self, members: Sequence[int]) -> None:
        """Go on with some of the members only; the others are done.

        Moments of the optimiser are taken along; its step count is one for all.
        """
        chosen = torch.tensor(members, device=self.device)
        before = [tensor if tensor.ndim == 0 else tensor[chosen] for tensor in self.tensors()]
        self._begin(before[: len(self.rows)])
        self.restore(before)

    def state(self, rows: Sequence[Tensor], member: int) -> State:
        """One member's parameters, as its own network names them."""
        weights, biases = (row[member : member + 1].detach().cpu() for row in rows)
        both = self.shapes.cut(weights, self.shapes.weights)
        both |= self.shapes.cut(biases, self.shapes.biases)
        return {name: tensor[0].clone() for name, tensor in both.items()}

    def step(self, stars: Scaled) -> Tensor:
        """One optimiser step of every member; ``stars`` are [M,B,...].

        Returns the validation loss of the batch as a sum, and its known labels: [M,2].
        """
        self.layers.train()
        loss, seen = self._losses(stars, shared=False)
        known = stars.known.sum(dim=(1, 2))
        # The sum over members has, row by row, each member's own gradient: no other row is in it.
        gradients = torch.autograd.grad((loss / known.clamp(min=1.0)).sum(), self.rows)
        norm = torch.linalg.vector_norm(torch.cat(gradients, dim=1), dim=1, keepdim=True)
        # As ``clip_grad_norm_`` does for each member alone, without asking the host.
        for row, gradient in zip(self.rows, gradients, strict=True):
            row.grad = gradient * (MAX_GRADIENT_NORM / (norm + 1e-6)).clamp(max=1.0)
        self.optimiser.step()
        return torch.stack([seen.detach(), known], dim=1)

    def validate(self, stars: Scaled, batch: int = 1024) -> list[float]:
        """Mean loss per member over stars [N,...] as they are, without augmentation."""
        self.layers.eval()
        total = torch.zeros(len(self), dtype=torch.float64, device=self.device)
        with torch.no_grad():
            for rows in torch.split(torch.arange(len(stars), device=self.device), batch):
                total += self._losses(stars.take(rows), shared=True)[1]
        means: list[float] = (total / stars.known.sum().clamp(min=1.0)).tolist()
        return means

    def _losses(self, stars: Scaled, *, shared: bool) -> tuple[Tensor, Tensor]:
        """Training and validation loss of every member as sums over its stars: [M], [M]."""

        def member(parameters: State, *tensors: Tensor) -> tuple[Tensor, Tensor]:
            mine = Scaled(*tensors)
            with self._products():
                outputs = functional_call(self.layers, parameters, (mine.branches,))
            outputs = tuple(output.float() for output in outputs)
            # What is reported of an epoch is in the units of the validation loss.
            seen = validation_loss(tuple(output.detach() for output in outputs), mine)
            return training_loss(outputs, mine), seen

        tensors = stars.tensors()
        parameters = self.shapes.cut(self.rows[0], self.shapes.weights)
        parameters |= self.shapes.cut(self.rows[1], self.shapes.biases)
        where = (0, *([None if shared else 0] * len(tensors)))
        both: tuple[Tensor, Tensor] = vmap(member, in_dims=where, randomness="different")(
            parameters, *tensors
        )
        return both

    def _products(self) -> contextlib.AbstractContextManager[None]:
        if self.precision == torch.float32:
            return contextlib.nullcontext()
        return torch.autocast(self.device.type, self.precision, cache_enabled=False)


@dataclass
class GraphedStep:
    """Fast path of ``StackedMembers.step``: recorded once as a CUDA graph, replayed per batch.

    Same results, but not yet run on a GPU here, so without a measured gain. A replay launches the
    whole step at once; batches are copied to where the recording reads them.

    ``why_not`` says why nothing was recorded; steps are then taken one by one.
    """

    stack: StackedMembers
    why_not: str = ""
    _graph: "torch.cuda.CUDAGraph | None" = None
    _inputs: list[Tensor] = field(default_factory=list)
    _result: Tensor | None = None

    def __call__(self, stars: Scaled) -> Tensor:
        if self._graph is None and not self.why_not:
            self._record(stars)
        if self._graph is None or self._result is None:
            return self.stack.step(stars)
        for into, tensor in zip(self._inputs, stars.tensors(), strict=True):
            into.copy_(tensor)
        self._graph.replay()
        return self._result.clone()

    def _record(self, stars: Scaled) -> None:
        if self.stack.device.type != "cuda":
            self.why_not = "only a GPU records steps"
            return
        before = [tensor.clone() for tensor in self.stack.tensors()]
        random = torch.cuda.get_rng_state(self.stack.device)
        stream = torch.cuda.current_stream(self.stack.device)
        try:
            self._capture(stars)
        except RuntimeError as error:
            self._graph, self.why_not = None, str(error).splitlines()[0]
            torch.cuda.set_stream(stream)  # a recording that breaks off leaves its own
        # Warming up before the recording took real steps: undo them, random numbers included.
        self.stack.restore(before)
        torch.cuda.set_rng_state(random, self.stack.device)

    def _capture(self, stars: Scaled) -> None:
        self._inputs = [tensor.clone() for tensor in stars.tensors()]
        static = Scaled(*self._inputs)
        work = lambda: self.stack.step(static)  # noqa: E731
        self._graph, self._result = capture(work, self.stack.device)
