"""The console: progress bars where somebody looks, plain lines where a log is kept."""

import sys
from typing import TextIO

from distcnn.events import Listener
from distcnn.monitor.console.log_lines import Lines
from distcnn.monitor.listeners import Tee


def console_listener(stream: TextIO | None = None) -> Listener:
    """Progress on ``stream`` (standard error): bars on a terminal, else lines with the time."""
    stream = stream or sys.stderr
    if not stream.isatty():
        return Tee(Lines(stream))
    from distcnn.monitor.console.progress_bars import Bars

    return Tee(Bars(stream))
