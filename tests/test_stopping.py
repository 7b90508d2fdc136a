"""What a signal leaves of a process that does not listen."""

import os
import signal
import subprocess
import sys

import psutil

from distcnn import stopping

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
    said = False
    while True:
        try:
            if not said:
                said = True
                print(child.pid, flush=True)  # a signal may follow before the next line does
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


LOADING = """
print("loading", flush=True)
try:
    while True:
        pass
except BaseException:
    print("an exception", flush=True)
    raise
"""


def test_no_exception_is_raised_where_a_module_is_being_loaded(tmp_path, killing):
    (tmp_path / "heavy.py").write_text(LOADING)
    code = (
        "from distcnn import stopping; stopping.install()\n"
        "with stopping.ending_in_order(): import heavy"
    )
    run = killing(
        psutil.Popen(
            [sys.executable, "-c", code],
            env={**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path), *sys.path])},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
    )
    assert run.stdout.readline() == "loading\n"
    run.send_signal(signal.SIGINT)
    output, errors = run.communicate(timeout=LIMIT_S)
    assert (output, errors) == ("", f"distcnn: stopped. {stopping.CURE}\n")
    assert run.returncode == 130
