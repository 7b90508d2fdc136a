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

ANSWERED_AT_ONCE = 1024
"""Stars that the ensemble answers for at a time: its activations are those of all members."""


class Teacher:
    """An ensemble on one device, in float32, through one fixed form of its layers.

    Not through the engine that a benchmark finds fastest, as in prediction: which one wins differs
    from day to day and in the last bits, and the student would not be reproducible.
    """

    def __init__(self, package: Package, device: torch.device) -> None:
        self.device = device
        self._layers = _layers(package, device)
        self._stacking = package.stacking(str(device))

    def answer(self, stars: Scaled) -> Scaled:
        """The stars, on the device, with answers as ``target`` [B, 3L+K]: see ``split_answers``."""
        parts = []
        with torch.no_grad():
            for rows in torch.split(torch.arange(len(stars)), ANSWERED_AT_ONCE):
                some = stars if len(rows) == len(stars) else stars.take(rows)
                some = some.to(self.device)
                label, *others = combine_members(*self._layers(some.branches))
                if self._stacking is not None:
                    label = self._stacking.stacked(some.branches, label)[0]
                found = (label, *others)
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


def split_answers(answers: Tensor, labels: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Label, noise, scatter [B,L] and correlation [B,K] of answers, in scaled units."""
    label, noise, scatter, correlation = answers.tensor_split([labels, 2 * labels, 3 * labels], 1)
    return label, noise, torch.clamp(scatter, min=MIN_SIGMA), correlation


def distillation_loss(rows: Rows, stars: Scaled) -> Tensor:
    """How far a student is from its teacher, in nats: a sum over stars and labels.

    - Labels by sqrt(1 + pull^2) - 1, the pull being in units of the teacher's own error for that
      star: quadratic where they are near, linear where they are far, so that a few stars on which
      the ensemble is erratic do not rule the student.
    - Noise and scatter by the divergence of Gaussians of such widths. Its minimum over many stars
      is the mean square, which is what a width is, and not the mean of logarithms.
    - Correlations by their squared differences.
    """
    mean, sigma, matrix = rows
    label, noise, scatter, correlation = split_answers(stars.target, mean.shape[-1])
    pull = (mean[0] - label) / torch.hypot(noise, scatter)
    apart = torch.sqrt(1 + pull.square()) - 1
    widths = _divergence(sigma[0], noise) + _divergence(sigma[1], scatter)
    return (apart + widths).sum() + (pack_pairs(matrix[0]) - correlation).square().sum()


def _divergence(student: Tensor, teacher: Tensor) -> Tensor:
    """Of Gaussians (Kullback-Leibler) of the same mean and these widths; 0 where they agree."""
    ratio = teacher / student
    return 0.5 * (ratio.square() - 1) - torch.log(ratio)


DISTILLATION = Loss(distillation_loss, distillation_loss)
"""How a student is trained."""
