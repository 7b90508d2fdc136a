"""Loss: what a member is trained, stopped and selected by.

Means and sigmas come from the Gaussian likelihood of each label; correlations from the joint
likelihood of what is left, with means and sigmas held. Nothing is lost by the separation: all
labels are predicted from the same inputs, and then weighting their residuals by a common
covariance does not move the best means (Zellner 1962). What is won is that labels with strongly
correlated errors do not fight over one ill-conditioned matrix while they are being learned.

Legend: B star, L label.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor

from distcnn.training.data.tensors import Scaled

VARIANCE_POWER = 0.5
"""Power of the variance that the training loss is weighted with (Seitzer et al. 2022)."""


Outputs = tuple[Tensor, ...]
"""What the layers of a network give: scaled mean and sigma [B,L], their correlation [B,L,L]."""
CORRELATION_WEIGHT = 0.1
"""Weight of the correlations; only their own layer sees it, through AdamW, which rescales it."""
CLIP_SIGMA = 5.0
"""Residuals are cut here, in sigmas, before they tell correlations."""


class Loss(NamedTuple):
    """What is lowered in training and what stops it: outputs and stars to a sum over both."""

    training: Callable[[Outputs, Scaled], Tensor]
    validation: Callable[[Outputs, Scaled], Tensor]


def training_loss(outputs: Outputs, stars: Scaled) -> Tensor:
    """What an optimiser step lowers: a sum over stars and known labels.

    Divide by ``stars.known.sum()``, taken over the whole batch wherever its parts are. Each
    term is weighted by its variance to the power ``VARIANCE_POWER``: else labels that are learned
    first silence those that are learned late.
    """
    each, variance = _nats(outputs, stars)
    weighted = (each * variance.detach().pow(VARIANCE_POWER) * stars.known).sum()
    return weighted + CORRELATION_WEIGHT * correlation_loss(outputs, stars)


def validation_loss(outputs: Outputs, stars: Scaled) -> Tensor:
    """Negative log likelihood in nats, summed over stars and known labels."""
    return (_nats(outputs, stars)[0] * stars.known).sum()


LIKELIHOOD = Loss(training_loss, validation_loss)
"""How members are trained."""


def _nats(outputs: Outputs, stars: Scaled) -> tuple[Tensor, Tensor]:
    """Nats and variance [B,L]; the references' errors are added to the variance.

    sigma becomes the error against the truth, not against a noisy reference.
    """
    mean, sigma = outputs[0], outputs[1]
    variance = sigma.square() + stars.variance
    return 0.5 * ((mean - stars.target).square() / variance + torch.log(variance)), variance


def correlation_loss(outputs: Outputs, stars: Scaled) -> Tensor:
    """Joint nats of standardised residuals, summed over stars; only correlations are learned.

    The references' errors are independent, so they dilute the correlations that are seen.
    """
    mean, sigma, correlation = outputs[0].detach(), outputs[1].detach(), outputs[2]
    total = (sigma.square() + stars.variance).sqrt()
    pull = torch.clamp((stars.target - mean) / total, -CLIP_SIGMA, CLIP_SIGMA) * stars.known
    share = sigma / total * stars.known
    joint = correlation * share.unsqueeze(-1) * share.unsqueeze(-2)
    # On the diagonal stands one: the network's share, the references', and a missing label.
    rest = 1.0 - torch.diagonal(joint, dim1=-2, dim2=-1) + 1e-4
    nats: Tensor = GaussianNats.apply(joint + torch.diag_embed(rest), pull)[0]  # type: ignore[no-untyped-call]
    return nats


class GaussianNats(torch.autograd.Function):
    """Gaussian nats of pulls [B,L] under their covariance [B,L,L], summed over stars.

    The gradient by the covariance C is (C^-1 - C^-1 p p' C^-1) / 2: four small products, where
    going back through the triangular factor takes half as long as the whole network.
    """

    generate_vmap_rule = True

    @staticmethod
    def forward(covariance: Tensor, pull: Tensor) -> tuple[Tensor, Tensor]:
        factor = torch.linalg.cholesky_ex(covariance)[0]
        inverse = torch.cholesky_inverse(factor)
        far = inverse @ pull.unsqueeze(-1)
        volume = torch.log(torch.diagonal(factor, dim1=-2, dim2=-1)).sum()
        nats = 0.5 * (pull.unsqueeze(-1) * far).sum() + volume
        return nats, 0.5 * (inverse - far * far.mT)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, Tensor], output: tuple[Tensor, ...]) -> None:
        ctx.mark_non_differentiable(output[1])
        ctx.save_for_backward(output[1])

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        return gradients[0].unsqueeze(-1).unsqueeze(-1) * ctx.saved_tensors[0], None
