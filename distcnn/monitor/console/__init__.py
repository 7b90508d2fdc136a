"""The console: progress bars where somebody looks, log lines where a log is kept."""

import sys
from typing import TextIO

from distcnn.monitor.console.display import Display
from distcnn.monitor.console.log_lines import LogLines

__all__ = ["Display", "LogLines", "console_display"]


def console_display(stream: TextIO | None = None) -> Display:
    """Progress on ``stream`` (standard error): bars on a terminal, else lines with the time."""
    stream = stream or sys.stderr
    if not stream.isatty():
        return LogLines(stream)
    from distcnn.monitor.console.progress_bars import ProgressBars

    return ProgressBars(stream)
