"""Monitoring: listeners that tell people and files what the rooms report, and the doctor.

Listeners watch. They never slow or stop the work: one that fails is left out, and said so.
"""

from distcnn.monitor.console.listener import console_listener
from distcnn.monitor.doctor import examine
from distcnn.monitor.journal import Journal
from distcnn.monitor.listeners import Tee
from distcnn.monitor.tensorboard import TensorBoard

__all__ = ["Journal", "Tee", "TensorBoard", "console_listener", "examine"]
