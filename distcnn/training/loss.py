"""Loss: what a member is trained, stopped and selected by.

Legend: B star, L label.
"""

import torch
from torch import Tensor

from distcnn.training.batches import Scaled

BETA = 0.5
"""Power of the variance that the training loss is weighted with (Seitzer et al. 2022)."""


Outputs = tuple[Tensor, ...]
"""What the layers of a network give: scaled mean [B,L] and sigma [B,L] first."""


def training_loss(outputs: Outputs, stars: Scaled) -> Tensor:
    """What an optimiser step lowers: a sum over stars and known labels.

    Divide by ``stars.known.sum()``, taken over the whole batch wherever its parts are. Each
    term is weighted by its variance to the power ``BETA``: else labels that are learned first
    silence those that are learned late.
    """
    each, variance = _nats(outputs, stars)
    return (each * variance.detach().pow(BETA) * stars.known).sum()


def validation_loss(outputs: Outputs, stars: Scaled) -> Tensor:
    """Negative log likelihood in nats, summed over stars and known labels."""
    return (_nats(outputs, stars)[0] * stars.known).sum()


def _nats(outputs: Outputs, stars: Scaled) -> tuple[Tensor, Tensor]:
    """Nats and variance [B,L]; the references' errors are added to the variance.

    sigma becomes the error against the truth, not against a noisy reference.
    """
    mean, sigma = outputs[0], outputs[1]
    variance = sigma.square() + stars.variance
    return 0.5 * ((mean - stars.target).square() / variance + torch.log(variance)), variance
