"""Several listeners as one, each kept from harming the work and the others."""

import sys
from threading import Lock

from distcnn.events import Event, Listener, Notice


class Tee:
    """Tells every listener; one that fails is left out from then on, and that is said once."""

    def __init__(self, *listeners: Listener) -> None:
        self._listeners = list(listeners)
        self._lock = Lock()

    def __call__(self, event: Event) -> None:
        with self._lock:
            for listener in list(self._listeners):
                self._tell(listener, event)

    def _tell(self, listener: Listener, event: Event) -> None:
        try:
            listener(event)
        except Exception as error:  # whatever it is, the work must go on
            self._listeners.remove(listener)
            self._report(f"{type(listener).__name__} failed and is left out: {error!r}")

    def _report(self, text: str) -> None:
        if not self._listeners:
            print(f"warning: {text}", file=sys.__stderr__)
        for other in list(self._listeners):
            self._tell(other, Notice(text, "warning"))
