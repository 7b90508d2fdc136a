"""Listeners that configuration switches on: one file and one row each.

A listener is called with every event and closed once the work has ended. To add one: a file
here whose class takes its setting and has ``close``, a row below, a key of that name in
``MonitorConfig``, and a test class that passes ``ListenerChecks``.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TextIO

from distcnn.config import MonitorConfig
from distcnn.events import Listener
from distcnn.monitor.console import console_display
from distcnn.monitor.listeners.group import ClosableListener, ListenerGroup
from distcnn.monitor.listeners.journal import Journal
from distcnn.monitor.listeners.tensorboard import TensorBoard

__all__ = ["LISTENERS", "ClosableListener", "ListenerGroup", "open_listener"]

LISTENERS: dict[str, Callable[[Any], ClosableListener]] = {
    "journal": Journal,
    "tensorboard": TensorBoard,
}
"""Key of ``MonitorConfig`` -> what opens the listener from the value of that key."""


@contextmanager
def open_listener(
    config: MonitorConfig | None = None, stream: TextIO | None = None
) -> Iterator[Listener]:
    """The console and every configured listener as one, closed at the end of the block.

    What is wrong with a setting is an error before the work begins; a listener that fails later
    is left out, and the work goes on.

    Parameters
    ----------
    config : which listeners; None = the console alone.
    stream : where the console writes; None = standard error.

    Raises
    ------
    UsageError : a file or folder cannot be written.
    MissingExtra : a listener needs a package that is not installed.
    """
    config = config or MonitorConfig()
    group = ListenerGroup(console_display(stream))
    try:
        for name, open_one in LISTENERS.items():
            setting = getattr(config, name)
            if setting is not None:
                group.add(open_one(setting))
        yield group
    finally:
        group.close()
