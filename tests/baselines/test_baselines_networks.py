import numpy as np
import pytest
import torch

from distcnn.baselines.base import LabelledStars
from distcnn.baselines.methods.networks.bcnn import Bcnn, SharedDropout, heteroscedastic
from distcnn.baselines.methods.networks.starnet import (
    _outputs_and_errors,
    squared_difference,
    starnet_layers,
)
from distcnn.baselines.methods.networks.training import Scaling

APOGEE_PIXELS = 7514


def parameters(network):
    return [
        sum(p.numel() for p in part.parameters()) for part in network if list(part.parameters())
    ]


def test_starnet_has_the_parameters_of_its_published_layers():
    # 4 and 16 filters of 8 pixels, pooling by 4, dense 256 and 128, three labels.
    pooled = 16 * (APOGEE_PIXELS // 4)
    wanted = [4 * 8 + 4, 16 * 4 * 8 + 16, pooled * 256 + 256, 256 * 128 + 128, 128 * 3 + 3]
    network = starnet_layers(APOGEE_PIXELS, 3)
    assert parameters(network) == wanted
    assert network(torch.zeros(2, APOGEE_PIXELS)).shape == (2, 3)


def test_the_bcnn_has_the_parameters_of_its_published_layers():
    # 2 and 4 filters of 8 pixels, pooling by 4, dense 196 and 96, labels and variances.
    pooled = 4 * (APOGEE_PIXELS // 4)
    wanted = [2 * 8 + 2, 4 * 2 * 8 + 4, pooled * 196 + 196, 196 * 96 + 96, 2 * (96 * 25 + 25)]
    network = Bcnn(APOGEE_PIXELS, 25)
    assert parameters(network.layers) == wanted
    assert network(torch.zeros(2, APOGEE_PIXELS)).shape == (2, 50)
    assert sum(isinstance(part, SharedDropout) for part in network.layers) == 3


def test_a_pass_of_drop_out_is_one_network_for_all_stars():
    network, spectra = Bcnn(64, 2).eval(), torch.randn(5, 64)

    def answers(rows, seed):
        network.draw_masks(torch.Generator().manual_seed(seed))
        with torch.no_grad():
            return network(spectra[rows])

    whole = answers(slice(None), 3)
    assert torch.allclose(answers(slice(1, 3), 3), whole[1:3], atol=1e-6)
    assert not torch.allclose(answers(slice(None), 4), whole)
    network.draw_masks(None)
    with torch.no_grad():
        assert torch.equal(network(spectra), network(spectra))


def test_losses_leave_out_labels_that_are_missing():
    labels = torch.tensor([[1.0, np.nan], [3.0, 2.0]])
    output = torch.tensor([[0.0, 50.0], [1.0, 2.0]])
    assert squared_difference(output, labels) == pytest.approx((1 + 4 + 0) / 3)
    log_variance = torch.full((2, 2), np.log(4.0))
    both = torch.cat([output, log_variance], dim=1)
    assert float(heteroscedastic(both, labels)) == pytest.approx(
        (5 / 8 + 1.5 * np.log(4)) / 3, rel=1e-5
    )


def test_errors_carried_through_a_linear_network_are_those_of_its_weights():
    network = torch.nn.Linear(6, 2)
    sigma = torch.rand(3, 6)
    _, found = _outputs_and_errors(network, torch.randn(3, 6), sigma)
    wanted = torch.sqrt(sigma.square() @ network.weight.square().T)
    assert torch.allclose(found, wanted, atol=1e-6)


def test_scaling_of_labels_leads_back_and_leaves_gaps(rng):
    label = rng.normal([5000, 2], [300, 0.5], (50, 2))
    label[::3, 1] = np.nan
    scaling = Scaling.fit(LabelledStars({"flux": rng.random((50, 4))}, label))
    targets = scaling.targets(label).numpy()
    assert np.isnan(targets[::3, 1]).all()
    assert targets * scaling.size + scaling.centre == pytest.approx(label, rel=1e-4, nan_ok=True)
