"""Several listeners as one, each kept from harming the work and the others."""

import sys
from contextlib import suppress
from threading import Lock

from distcnn.events import Event, Listener, Notice


class Tee:
    """Tells every listener; one that fails is left out from then on, and that is said once."""

    def __init__(self, *listeners: Listener) -> None:
        self._listeners = list(listeners)
        self._lock = Lock()

    def __call__(self, event: Event) -> None:
        with self._lock:
            self._tell_all(event)

    def _tell_all(self, event: Event) -> None:
        failed: dict[int, tuple[Listener, str]] = {}
        for number, listener in enumerate(self._listeners):
            try:
                listener(event)
            except Exception as error:  # whatever it is, the work must go on
                failed[number] = listener, repr(error)
        self._listeners = [x for n, x in enumerate(self._listeners) if n not in failed]
        for listener, why in failed.values():
            self._report(f"{type(listener).__name__} failed and is left out: {why}")

    def _report(self, text: str) -> None:
        if self._listeners:
            self._tell_all(Notice(text, "warning"))
        else:
            with suppress(OSError):  # standard error may be what failed
                print(f"warning: {text}", file=sys.stderr)
