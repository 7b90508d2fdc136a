"""Teacher: an ensemble that answers for stars as a student sees them, and how alike answers are.

Legend: B star, L label, K pair of labels.
"""

from dataclasses import replace

import torch
from torch import Tensor

from distcnn.model import Hybrid, Package
from distcnn.model.batched_ensemble import BatchedHybrid, OutputHead, Outputs
from distcnn.model.ensemble import Layers, combine_members, sequential_layers
from distcnn.model.networks.covariance import MIN_SIGMA, pack_pairs
from distcnn.model.scaling import BranchInputs
from distcnn.training.data.augment import Augment
from distcnn.training.data.tensors import Scaled, concatenate
from distcnn.training.loop.loss import Loss
from distcnn.training.loop.loss import Outputs as Rows

BLOCK = 1024
"""Stars that are answered for at a time where many are given."""


class Teacher:
    """An ensemble on one device, float32, in the form that needs no trial to be fast.

    An engine found by trial would make the student depend on who was fastest that day.
    """

    def __init__(self, package: Package, device: torch.device) -> None:
        self.device = device
        self._layers = _layers(package, device)

    def answer(self, stars: Scaled) -> Scaled:
        """The stars, on the device, with answers as ``target`` [B, 3L+K]: see ``split``."""
        parts = []
        with torch.no_grad():
            for rows in torch.split(torch.arange(len(stars)), BLOCK):
                some = stars if len(rows) == len(stars) else stars.take(rows)
                some = some.to(self.device)
                found = combine_members(*self._layers(some.branches))
                parts.append(replace(some, target=torch.cat(found, dim=1)))
        return concatenate(parts)


def _layers(package: Package, device: torch.device) -> Layers:
    networks = package.networks(str(device))
    hybrids = [each.layers for each in networks if isinstance(each.layers, Hybrid)]
    if len(hybrids) < len(networks):
        return sequential_layers(networks)
    heads = BatchedHybrid(hybrids, loop=device.type == "cpu").eval().to(device)
    finish = OutputHead().to(device)

    def layers(inputs: BranchInputs) -> Outputs:
        out: Outputs = finish(*heads(inputs))
        return out

    return layers


class DistillationTargets:
    """Changes stars as ``augment`` does and has the teacher answer for what became of them."""

    def __init__(self, augment: Augment, teacher: Teacher) -> None:
        self.augment, self.teacher = augment, teacher

    def __call__(self, stars: Scaled, pool: Tensor, generator: torch.Generator) -> Scaled:
        """``stars`` are a batch of its own and are changed in place."""
        return self.teacher.answer(self.augment(stars, pool, generator))


def split(answers: Tensor, labels: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Label, noise, scatter [B,L] and correlation [B,K] of answers, in scaled units."""
    label, noise, scatter, correlation = answers.tensor_split([labels, 2 * labels, 3 * labels], 1)
    return label, noise, torch.clamp(scatter, min=MIN_SIGMA), correlation


def distillation_loss(rows: Rows, stars: Scaled) -> Tensor:
    """How far a student is from its teacher, in nats: a sum over stars and labels.

    Labels count in units of the teacher's own error for that star, quadratically where they
    are near and linearly where they are far; noise and scatter by the divergence of Gaussians
    of such widths, which are right in the mean square; correlations by their squares.
    """
    mean, sigma, matrix = rows
    label, noise, scatter, correlation = split(stars.target, mean.shape[-1])
    pull = (mean[0] - label) / torch.hypot(noise, scatter)
    apart = torch.sqrt(1 + pull.square()) - 1
    widths = _divergence(sigma[0], noise) + _divergence(sigma[1], scatter)
    return (apart + widths).sum() + (pack_pairs(matrix[0]) - correlation).square().sum()


def _divergence(met: Tensor, wanted: Tensor) -> Tensor:
    """Of Gaussians of the same mean and these widths; 0 where they agree."""
    ratio = wanted / met
    return 0.5 * (ratio.square() - 1) - torch.log(ratio)


DISTILLATION = Loss(distillation_loss, distillation_loss)
"""How a student is trained."""
