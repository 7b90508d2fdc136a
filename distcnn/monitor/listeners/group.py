"""Several listeners as one, each kept from harming the work and the others."""

import sys
from contextlib import suppress
from threading import Lock
from typing import Protocol

from distcnn.events import Event, Listener, Notice


class ClosableListener(Protocol):
    """A listener that holds a file, a screen or a port until it is closed."""

    def __call__(self, event: Event) -> None: ...

    def close(self) -> None:
        """Give back what it holds; a second call does nothing."""


class ListenerGroup:
    """Passes every event to every listener; one that fails is left out, and that is said once."""

    def __init__(self, *listeners: Listener) -> None:
        self._listeners = list(listeners)
        self._opened = list(listeners)
        # Trainers report from threads of their own, and no listener need bear that.
        self._lock = Lock()

    def __call__(self, event: Event) -> None:
        with self._lock:
            self._pass_on(event)

    @property
    def run(self) -> str | None:
        """The name of the run that one of the listeners has given it, if one has."""
        return next((str(one.run) for one in self._opened if hasattr(one, "run")), None)

    def add(self, listener: Listener) -> None:
        """One listener more, from the next event on."""
        with self._lock:
            self._listeners.append(listener)
            self._opened.append(listener)

    def close(self) -> None:
        """Close every listener that can be closed, those left out too."""
        with self._lock:
            while self._opened:
                listener = self._opened.pop()
                try:
                    getattr(listener, "close", lambda: None)()
                except Exception as error:  # the work is done, and stays done
                    _warn(f"{type(listener).__name__} did not close: {error!r}")
            self._listeners.clear()

    def _pass_on(self, event: Event) -> None:
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
        """Through the listeners that are left; where none is, on standard error."""
        if self._listeners:
            self._pass_on(Notice(text, "warning"))
        else:
            _warn(text)


def _warn(text: str) -> None:
    with suppress(OSError):  # standard error may be what failed
        print(f"warning: {text}", file=sys.stderr)
