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
"""Weight of the correlations in the training loss. It cannot harm means and sigmas, which are
detached there, and it hardly matters to the layer of the correlations: AdamW divides its steps by
the size of the gradient. It only keeps them from filling the clipped norm of all gradients."""
CLIP_SIGMA = 5.0
"""Residuals are clipped here before correlations are learned from them: one wrong reference label,
fifty sigma off, would else outweigh a thousand stars."""


class Loss(NamedTuple):
    """What is lowered in training and what stops it: outputs and stars to a sum over both."""

    training: Callable[[Outputs, Scaled], Tensor]
    validation: Callable[[Outputs, Scaled], Tensor]


def training_loss(outputs: Outputs, stars: Scaled) -> Tensor:
    """What an optimiser step lowers: a sum over stars and known labels.

    The caller divides by ``stars.known.sum()``, taken over the whole batch wherever its parts are.
    Each term is weighted by its variance to the power ``VARIANCE_POWER``: gradients of the plain
    likelihood go with 1/variance, so labels learned first would silence those learned late.
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
    """Nats and variance [B,L] of a label against its reference.

    The variance of what is seen, prediction - reference, is that of the prediction plus that of
    the reference. Adding the known second part leaves the first for sigma: the error against the
    truth, not against a noisy reference.
    """
    mean, sigma = outputs[0], outputs[1]
    variance = sigma.square() + stars.variance
    return 0.5 * ((mean - stars.target).square() / variance + torch.log(variance)), variance


def correlation_loss(outputs: Outputs, stars: Scaled) -> Tensor:
    """Joint nats of standardised residuals, summed over stars; only correlations are learned.

    Errors of the references are independent of ours and of each other, so the correlation that is
    seen between labels i and j is ours times (sigma_i / total_i) * (sigma_j / total_j).
    """
    mean, sigma, correlation = outputs[0].detach(), outputs[1].detach(), outputs[2]
    total = (sigma.square() + stars.variance).sqrt()
    pull = torch.clamp((stars.target - mean) / total, -CLIP_SIGMA, CLIP_SIGMA) * stars.known
    diluted = sigma / total * stars.known
    joint = correlation * diluted.unsqueeze(-1) * diluted.unsqueeze(-2)
    # A correlation matrix has ones on its diagonal. Filled up to that: by the references' part,
    # and for a missing label by all of it, which makes its residual of 0 cost nothing. 1e-4 keeps
    # the matrix invertible where two labels go together perfectly.
    rest = 1.0 - torch.diagonal(joint, dim1=-2, dim2=-1) + 1e-4
    nats: Tensor = GaussianNats.apply(joint + torch.diag_embed(rest), pull)[0]  # type: ignore[no-untyped-call]
    return nats


class GaussianNats(torch.autograd.Function):
    """Fast path of Gaussian nats of pulls [B,L] under their covariance [B,L,L], summed over stars.

    Its gradient is that of finite differences, tested in ``tests/model/test_model_covariance.py``;
    measured gain: going back through the triangular factor would take half as long as the whole
    network. The gradient by the covariance C is (C^-1 - C^-1 p p' C^-1) / 2: four small products,
    done on the way forward.
    """

    generate_vmap_rule = True

    @staticmethod
    def forward(covariance: Tensor, pull: Tensor) -> tuple[Tensor, Tensor]:
        # ``_ex`` does not stop the device to ask whether it worked: the diagonal ensures it.
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
