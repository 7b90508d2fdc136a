"""The science checks: one row each. A new one is one file, one row here, one conformance test."""

from distcnn.checks.base import Check
from distcnn.checks.network_gain import network_gain
from distcnn.checks.quoted_errors import quoted_errors

CHECKS = (
    Check("quoted-errors", "Do the quoted errors hold in every bin of S/N?", quoted_errors),
    Check("network-gain", "Is the network better than simpler methods?", network_gain),
)
