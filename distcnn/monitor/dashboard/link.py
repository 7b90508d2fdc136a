"""Link: from the driver to the scheduler, wherever that runs. A snapshot now and then, no more.

A scheduler that was replaced (a deleted pod) knows nothing of the plugin; the next snapshot finds
that out and registers it again.
"""

import ipaddress
import platform
import socket
from time import monotonic
from typing import Any
from urllib.parse import urlsplit

from distcnn.monitor.dashboard.plugin import NAME, NO_DASHBOARD, PAGE, RunsPlugin
from distcnn.monitor.dashboard.worker import RegionCounter
from distcnn.monitor.run_state import Snapshot

REPLY_S = 5.0
"""How long the scheduler may take to answer before a snapshot is dropped."""
LAST_S = 1.0
"""The same at the end of a run, which a scheduler that is gone must not hold up."""
RETRY_S = 10.0
"""Time between two attempts to register again."""


class DaskLink:
    """Sends snapshots through a connected ``distributed.Client``; never raises.

    Parameters
    ----------
    client : stays the caller's.
    dashboard : address of Dask's own dashboard, where the backend knows better than the client.
    """

    def __init__(self, client: Any, dashboard: str | None = None) -> None:
        self.client, self.dashboard = client, dashboard
        self.trouble = ""
        self._registered = False
        self._tried = float("-inf")

    def open(self) -> str:
        """Register what shows the run; returns a sentence that says where to look.

        It says why there is nothing to see, where there is nothing; it is empty where nobody
        wanted a dashboard.
        """
        try:
            self._register()
            return self._where(self._ask("distcnn_hello"))
        except Exception as error:  # eyes are not worth a run
            self.trouble = f"{type(error).__name__}: {error}"
            return f"There is no page of this run on the Dask dashboard ({self.trouble})"

    def send(self, snapshot: Snapshot, *, last: bool = False) -> bool:
        """Show a snapshot; False if that could not be done. The ``last`` one is not insisted on."""
        try:
            if not self._registered and last:
                return False
            if not self._registered:
                self._register()
            self._ask("distcnn_update", LAST_S if last else REPLY_S, snapshot=snapshot)
        except Exception as error:  # the next one may arrive
            self.trouble, self._registered = f"{type(error).__name__}: {error}", False
            return False
        return True

    def holders(self, keys: list[str]) -> dict[str, Snapshot]:
        """For each of these tasks that a worker has: its name, host and silence [s]."""
        try:
            return self._ask("distcnn_holders", keys=keys)
        except Exception:  # it may be the scheduler that is stuck
            return {}

    def _register(self) -> None:
        now = monotonic()
        if now - self._tried < RETRY_S:
            raise ConnectionError("the scheduler has lost the page; tried again shortly")
        self._tried = now
        self.client.register_plugin(RunsPlugin(), name=NAME)
        self.client.register_plugin(RegionCounter(), name=RegionCounter.name)
        self._registered = True

    def _ask(self, handler: str, seconds: float = REPLY_S, **message: Any) -> Snapshot:
        call = getattr(self.client.scheduler, handler)
        answer = self.client.sync(call, callback_timeout=seconds, **message)
        if not isinstance(answer, dict):  # Dask answers with a text where there is no handler
            raise ConnectionError(f"the scheduler answers {answer!r}")
        return answer

    def _where(self, hello: Snapshot) -> str:
        self.trouble = hello["trouble"]
        if self.trouble:
            wanted = self.trouble != NO_DASHBOARD
            return f"There is no page of this run: {self.trouble}" if wanted else ""
        port, host = hello["port"], hello["host"]
        tunnel = _is_loopback(urlsplit(self.dashboard or "").hostname or "")
        if _is_loopback(hello["address"]) and not _is_here(host) and not tunnel:
            way = f"ssh -N -L {port}:127.0.0.1:{port} {host}"
            way = f"kubectl port-forward pod/{host} {port}" if hello["pod"] else way
            return (
                f"Page of this run: http://127.0.0.1:{port}/{PAGE} on {host}; to see it here: {way}"
            )
        link = self.dashboard or self.client.dashboard_link
        return f"Page of this run: {link.removesuffix('/').removesuffix('/status')}/{PAGE}"


def _is_loopback(address: str) -> bool:
    try:
        return ipaddress.ip_address(address).is_loopback
    except ValueError:
        return address == "localhost"


def _is_here(host: str) -> bool:
    return host in {platform.node(), socket.gethostname()}
