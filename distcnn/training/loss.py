"""Loss: what a member is trained, stopped and selected by.

Legend: B star, L label.
"""

import torch
from torch import Tensor

from distcnn.training.batches import Scaled

BETA = 0.5
"""Power of the variance that the training loss is weighted with (Seitzer et al. 2022)."""


def gaussian_loss(mean: Tensor, sigma: Tensor, stars: Scaled, beta: float = 0.0) -> Tensor:
    """Negative log likelihood in nats per known label; the references' errors are added.

    ``mean``, ``sigma`` [B,L] in scaled units. sigma becomes the error against the truth, not
    against a noisy reference. With ``beta`` > 0 each term is weighted by its variance to that
    power: else labels that are learned first silence those that are learned late.
    """
    variance = sigma.square() + stars.variance
    each = 0.5 * ((mean - stars.target).square() / variance + torch.log(variance))
    if beta > 0:
        each = each * variance.detach().pow(beta)
    return (each * stars.known).sum() / stars.known.sum().clamp(min=1.0)
