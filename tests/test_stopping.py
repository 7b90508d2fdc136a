"""What a signal leaves of a process that does not listen."""

import os
import signal
import subprocess
import sys

import psutil

LIMIT_S = 300.0
DEAF = """
import subprocess, sys, time
from pathlib import Path
from distcnn import stopping

stopping.LIMIT_S = 0.1
stopping.install()
folder = Path(sys.argv[1])
folder.mkdir()
with stopping.ending_in_order(), stopping.removed_at_end(folder):
    child = subprocess.Popen([sys.executable, "-c", "while True: pass"])
    print(child.pid, flush=True)
    while True:
        try:
            child.wait()
        except BaseException:
            pass
"""


def test_a_deaf_run_is_cleared_up_where_nobody_reads_the_line(tmp_path, killing):
    read, written = os.pipe()
    command = [sys.executable, "-c", DEAF, tmp_path / "workers"]
    run = killing(
        psutil.Popen(
            command, stdout=subprocess.PIPE, stderr=written, text=True, start_new_session=True
        )
    )
    os.close(written)
    child = psutil.Process(int(run.stdout.readline()))
    os.close(read)  # Ctrl-C ends ``tee`` as well, and often before
    run.send_signal(signal.SIGINT)
    assert run.wait(LIMIT_S) == 130
    assert psutil.wait_procs([child], timeout=LIMIT_S)[1] == []
    assert list(tmp_path.iterdir()) == []
