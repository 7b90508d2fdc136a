"""What is guessed of a layout, key by key, each with how it was come by."""

from dataclasses import dataclass, field
from typing import Any

MIN_PIXELS = 20
"""Fewer numbers in a row are no spectrum."""


@dataclass
class LayoutGuess:
    """Keys of the layout, each with how it was come by."""

    values: dict[str, Any] = field(default_factory=dict)
    why: dict[str, str] = field(default_factory=dict)

    def set(self, key: str, value: Any, why: str) -> None:
        """Note a key."""
        self.values[key], self.why[key] = value, why
