"""Whole commands without workers."""

import pytest
from conformance.cluster_runs import RunChecks, Site

pytestmark = pytest.mark.slow


class SerialSite(Site):
    """The command is all there is."""

    workers = 1

    def leftovers(self) -> list[str]:
        return []


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    return SerialSite(tmp_path_factory.mktemp("serial"), "serial")


class TestSerial(RunChecks):
    """The run to which others are compared; here against itself."""
