"""Imported first by the fork server: it and its workers leave the process group of the client.

A terminal sends Ctrl-C, a hang-up and a ``SIGTERM`` of ``kill -- -GROUP`` to every process of the
group, but only the client knows how to stop in order. A worker that dies by it alone would be
started again by Dask in the middle of the stop. When the client is killed they end by themselves:
a pipe to it closes.
"""

import os
import sys

if any("multiprocessing.forkserver" in word for word in sys.orig_argv):  # nowhere else
    os.setpgrp()
