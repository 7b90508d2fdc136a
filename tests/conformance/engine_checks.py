"""Conformance kit of engines: an engine is finished when these pass.

A subclass gives ``engine``, the name of a row of the registry, and fixtures: ``package`` of the
network ``hybrid`` with the ``stars`` of its survey, ``other_package`` of another network, and
``cache``, a folder for what takes long to make. Where this machine does not support the
engine, the kit asks only that it says why.
"""

import numpy as np
import pytest
import torch

from distcnn.inference.engines import (
    ENGINES,
    Candidate,
    ParityTolerance,
    check_parity,
    list_candidates,
)
from distcnn.inference.engines.registry import engine_versions
from distcnn.model import Ensemble

CPU = torch.device("cpu")


class EngineChecks:
    """What every engine does."""

    engine: str

    @pytest.fixture
    def layers(self, package, cache):
        candidates = dict(list_candidates(CPU, engine=self.engine, precision="float32"))
        (reason,) = candidates.values()
        if reason:
            pytest.skip(reason)
        return Candidate(self.engine).build(package, CPU, cache)

    def test_it_is_a_row_that_says_what_it_needs(self):
        kind = ENGINES[self.engine]
        assert kind.devices
        assert not kind.needs or kind.needs in engine_versions()

    def test_a_device_that_it_does_not_run_on_is_refused_with_the_reason(self):
        other = {"cpu", "cuda"} - set(ENGINES[self.engine].devices)
        for device in map(torch.device, other):
            reasons = dict(list_candidates(device, engine=self.engine)).values()
            assert all("only" in reason for reason in reasons)

    def test_it_reproduces_the_package_in_float32(self, package, layers):
        parity = Ensemble(package, layers).parity()
        assert parity.rms < 0.01
        assert parity.bias < 0.002

    def test_its_outputs_are_float32_of_every_member_and_label(self, package, layers, stars):
        mean, sigma, correlation = Ensemble(package, layers).outputs(stars.tensors())
        members, labels = package.size, len(package.labels)
        assert mean.shape == sigma.shape == (members, len(stars), labels)
        assert correlation.shape == (members, len(stars), labels, labels)
        assert {mean.dtype, sigma.dtype, correlation.dtype} == {torch.float32}
        assert (sigma > 0).all()

    def test_a_star_gets_the_same_whatever_the_size_of_its_batch(self, package, layers, stars):
        ensemble = Ensemble(package, layers)
        whole, pieces = ensemble.predict(stars, len(stars)), ensemble.predict(stars, 7)
        for found, right in zip(pieces, whole, strict=True):
            np.testing.assert_allclose(found, right, rtol=1e-4, atol=1e-4)

    def test_the_same_stars_get_the_same_bits_again(self, package, layers, stars):
        ensemble = Ensemble(package, layers)
        first = ensemble.predict(stars, 16)
        for found, again in zip(first, ensemble.predict(stars, 16), strict=True):
            np.testing.assert_array_equal(found, again)

    def test_what_is_missing_is_no_obstacle(self, package, layers, stars):
        names = [name for name, array in stars.arrays.items() if array.shape[1]]
        right, ensemble = Ensemble(package), Ensemble(package, layers)
        for gone in (*([name] for name in names), names):
            hidden = stars.without(*gone)
            wanted = right.predict(hidden).label
            np.testing.assert_allclose(ensemble.predict(hidden).label, wanted, rtol=1e-4, atol=1e-3)

    def test_another_network_is_run_right_or_refused(self, other_package, tmp_path, layers):
        trial, ensemble = check_parity(
            other_package, Candidate(self.engine), ParityTolerance(), CPU
        )
        assert (ensemble is None) == bool(trial.refused)
        assert ensemble is None or ensemble.parity().rms < 0.01
