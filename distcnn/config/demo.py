"""Settings of the demonstration."""

from pydantic import Field

from distcnn.config.base import Frozen


class DemoConfig(Frozen):
    """The whole river on simulated stars."""

    stars: int = Field(20_000, ge=100)
    """Stars to simulate."""
    seed: int = Field(1, ge=0)
    """Seed of the simulation."""
