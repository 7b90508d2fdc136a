"""Stopping: what Ctrl-C (SIGINT), SIGTERM and SIGHUP do to a command.

A command that is asked to stop ends within seconds with one line and the exit code 128 + signal:

    signal ──handler──▶ exception in the main thread ──▶ its ``finally`` blocks ──▶ ``_end``
       └──wake-up pipe──▶ watching thread ── after LIMIT_S ─────────────────────────▶ ``_end``

``_end`` says so, kills every process below this one, removes the folders of ``removed_at_end``
and leaves without the interpreter's own farewell, in which libraries wait for their threads and
print what they think of it. Whatever is cut off there is safe: a run may be killed at any moment.

While a module is being loaded there is no exception, and ``_end`` follows at once.

Two things can lose a Ctrl-C, and both happen to runs that live in Dask's callbacks: Python drops
an exception that is raised in ``__del__`` or in a callback of a weak reference, and so does a
library's bare ``except:``. The exception is therefore watched: where it dies before it has come
out at the end, it is raised again. And a main thread that is deep in compiled code hears nothing
at all; the watching thread does, because the interpreter writes to its pipe at once.

This module is imported before all others, so it imports next to nothing.
"""

import atexit
import os
import signal
import sys
import threading
import weakref
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, NoReturn

if TYPE_CHECKING:
    import psutil

LIMIT_S = 10.0
"""Seconds after the signal in which the work may end in order."""
POLL_S = 0.1
LAST_STEPS_S = 5.0
"""Seconds that the end itself may take before the process leaves whatever is left."""
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
CURE = "The same command again goes on from here."


class Stopped(KeyboardInterrupt):
    """A signal has asked the command to stop."""


class _State:
    """Of this process. Simple attributes: signal handlers must not wait for a lock."""

    def __init__(self) -> None:
        self.number: int | None = None
        """The first signal that came."""
        self.working = False
        """Whether an exception would meet work that has to end in order."""
        self.ending = False
        self.raised: weakref.ref[Stopped] | None = None


_STATE = _State()
_FOLDERS: set[Path] = set()
_LINE = threading.Lock()
"""Held by the thread that ends the process; never given back."""
_NEVER = threading.Event()
"""Waited for with a time limit: unlike a sleep it may be cut short by nothing."""


def requested() -> bool:
    """Whether a signal has asked this process to stop."""
    return _STATE.number is not None


def install() -> None:
    """Let signals stop this process as described above; a second call does nothing.

    A signal that is ignored already (a job in the background of a script, ``nohup``) stays so.
    """
    if signal.getsignal(signal.SIGINT) is _on_signal or not _in_main_thread():
        return
    for number in SIGNALS:
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, _on_signal)
    heard, told = os.pipe()
    os.set_blocking(told, False)
    signal.set_wakeup_fd(told, warn_on_full_buffer=False)
    threading.Thread(target=_watch, args=(heard,), name="stopping", daemon=True).start()
    os.register_at_fork(after_in_child=_leave_to_parent)
    atexit.register(_let_the_end_be)


@contextmanager
def ending_in_order() -> Iterator[None]:
    """Work that a signal stops by an exception; the process ends where the block does."""
    _STATE.working = True
    try:
        yield
    finally:
        _STATE.working = False
        # Whatever a library has made of the exception, and be it success, a signal has come.
        if requested():
            _end()


@contextmanager
def removed_at_end(folder: Path) -> Iterator[None]:
    """A folder that is removed even if the block cannot do it any more."""
    _FOLDERS.add(folder)
    try:
        yield
    finally:
        _FOLDERS.discard(folder)


def _on_signal(number: int, frame: FrameType | None) -> None:
    _hush()  # whoever has heard it first: the watching thread may have been faster
    if _STATE.number is None:
        _STATE.number = number
    if _STATE.ending or (_STATE.raised is not None and _STATE.raised() is not None):
        return  # a second Ctrl-C: the first is on its way
    if not _STATE.working or _importing(frame):
        _end()
    error = Stopped()
    _STATE.raised = weakref.ref(error)
    try:
        raise error
    finally:
        del error  # its traceback has this frame: keeping it here would keep it alive for ever


def _importing(frame: FrameType | None) -> bool:
    """Whether a module is being loaded: an exception in the middle of C++ libraries that set
    themselves up (torch does so for seconds) aborts the process, with a page of its stack.
    """
    while frame is not None:
        if frame.f_code.co_filename.startswith("<frozen importlib"):
            return True
        frame = frame.f_back
    return False


def _swallowed() -> bool:
    """Whether the exception is gone although the work goes on."""
    raised = _STATE.raised
    return _STATE.working and not _STATE.ending and raised is not None and raised() is None


def _hush() -> None:
    """From now on nobody hears from libraries: what they report is that they are being stopped."""
    logging, warnings = sys.modules.get("logging"), sys.modules.get("warnings")
    getattr(logging, "disable", lambda _: None)(sys.maxsize)
    getattr(warnings, "simplefilter", lambda _: None)("ignore")
    sys.unraisablehook = lambda _: None
    threading.excepthook = lambda _: None


def _watch(heard: int) -> None:
    while True:
        for number in os.read(heard, 1):
            if number in SIGNALS:
                if _STATE.number is None:
                    _STATE.number = number  # the main thread has not come to it yet
                _wait()
                _end()


def _wait() -> None:
    """Give the work its time; raise the exception again where someone has swallowed it."""
    for _ in range(int(LIMIT_S / POLL_S)):
        _NEVER.wait(POLL_S)
        if _swallowed():
            signal.pthread_kill(threading.main_thread().ident or 0, _STATE.number or signal.SIGINT)


def _end() -> NoReturn:
    """Say that the command was stopped, clear up, leave."""
    _STATE.ending = True
    code = 128 + (_STATE.number or signal.SIGINT)
    if not _LINE.acquire(blocking=False):  # the other thread is at it
        _NEVER.wait(LAST_STEPS_S)
        os._exit(code)
    for step in (threading.Timer(LAST_STEPS_S, os._exit, (code,)).start, _say, _clear_up):
        with suppress(BaseException):  # whatever comes of one, the next has to be done
            step()
    os._exit(code)


def _say() -> None:
    _hush()
    if _in_main_thread():  # elsewhere the main thread may hold the locks of the streams
        for stream in (sys.stdout, sys.stderr):
            with suppress(Exception):
                stream.flush()
    name = signal.Signals(_STATE.number or signal.SIGINT).name
    what = "stopped" if name == "SIGINT" else f"stopped by {name}"
    # Bars that could not be taken off the screen leave it without a cursor.
    clean = "\r\x1b[2K\x1b[?25h" if os.isatty(2) and not _in_main_thread() else ""
    with suppress(OSError):  # a terminal that is closed, or a pipe whose reader was stopped, too
        os.write(2, f"{clean}distcnn: {what}. {CURE}\n".encode())
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for stream_number in (1, 2):
        os.dup2(nowhere, stream_number)


def _clear_up() -> None:
    """Processes first, for they may still write into the folders."""
    import shutil

    kill_children(1.0)
    for folder in list(_FOLDERS):
        shutil.rmtree(folder, ignore_errors=True)


def kill_children(wait_s: float) -> None:
    """Kill every process below this one, those started meanwhile too, and wait for their end.

    Python's own helper stays: it removes the semaphores of the dead, then ends by itself.
    """
    import psutil

    me = psutil.Process()
    # A nanny may have started another worker meanwhile; one more starts and ends by itself,
    # because it notices that nobody holds the other end of its pipe.
    for _ in range(3):
        children = [one for one in me.children(recursive=True) if not cleans_up(one)]
        for child in children:
            with suppress(psutil.Error):
                child.kill()
        if not children:
            return
        psutil.wait_procs(children, timeout=wait_s)


def cleans_up(process: "psutil.Process") -> bool:
    """Python's own helper, which removes the semaphores of dead processes, then ends."""
    import psutil

    with suppress(psutil.Error):
        return any("multiprocessing.resource_tracker" in word for word in process.cmdline())
    return False


def _in_main_thread() -> bool:
    return threading.current_thread() is threading.main_thread()


def _let_the_end_be() -> None:
    """Registered first, so called last: the work is done and the interpreter takes itself apart.

    It would put back the system's own handlers before that, and a late Ctrl-C would turn the exit
    code of finished work into that of a killed process.
    """
    for number in SIGNALS:
        if signal.getsignal(number) is _on_signal:
            signal.signal(number, signal.SIG_IGN)


def _leave_to_parent() -> None:
    """A forked child has neither the watching thread nor a say in how the command stops."""
    with suppress(ValueError):
        signal.set_wakeup_fd(-1)
        for number in SIGNALS:
            if signal.getsignal(number) is _on_signal:
                signal.signal(number, signal.SIG_DFL)
