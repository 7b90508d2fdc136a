"""Monitoring: listeners that tell people and files what the work reports, and the doctor.

Listeners watch. They never slow or stop the work: one that fails is left out, and said so.
"""

from distcnn.monitor.console import console_display
from distcnn.monitor.doctor import examine
from distcnn.monitor.listeners import LISTENERS, ListenerGroup, open_listener

__all__ = ["LISTENERS", "ListenerGroup", "console_display", "examine", "open_listener"]
