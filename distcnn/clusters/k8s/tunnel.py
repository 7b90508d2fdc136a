"""Tunnel: a port of a pod, reached through the API server, at an address of this machine.

What ``kubectl port-forward`` does. It needs no port of a node and no load balancer, only the right
to ``create pods/portforward``. Every connection has a WebSocket of its own.
"""

import select
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

from distcnn.clusters.k8s.api import Api
from distcnn.errors import ClusterError

BUFFER_BYTES = 1 << 16
POLL_S = 1.0
"""Longest time after the end in which a connection is still served."""


@contextmanager
def open_tunnel(api: Api, pod: str, port: int, address: str = "127.0.0.1:0") -> Iterator[str]:
    """Yields ``HOST:PORT`` of this machine, at which ``port`` of ``pod`` answers.

    Raises
    ------
    ClusterError : this machine has no such address, or it is taken.
    """
    host, _, number = address.rpartition(":")
    try:
        listening = socket.create_server((host, int(number)))
    except (OSError, ValueError, OverflowError) as error:
        raise ClusterError(
            f"nothing can listen at {address!r} ({error})",
            expected="address:port of this machine, such as 127.0.0.1:8787, port 0 for any free",
        ) from None
    over = threading.Event()
    tunnel = _Tunnel(api, pod, port, over)
    threading.Thread(target=tunnel.serve, args=(listening,), name="tunnel", daemon=True).start()
    try:
        yield f"{host}:{listening.getsockname()[1]}"
    finally:
        over.set()
        with suppress(OSError):
            listening.shutdown(socket.SHUT_RDWR)  # wakes the thread that waits there
        listening.close()


class _Tunnel:
    def __init__(self, api: Api, pod: str, port: int, over: threading.Event) -> None:
        self.api, self.pod, self.port, self.over = api, pod, port, over

    def serve(self, listening: socket.socket) -> None:
        while not self.over.is_set():
            try:
                ours, _ = listening.accept()
            except OSError:
                return
            threading.Thread(target=self._carry, args=(ours,), name="tunnel", daemon=True).start()

    def _carry(self, ours: socket.socket) -> None:
        with ours, suppress(Exception):  # who connects sees that the connection ends
            theirs = self._dial()
            try:
                self._copy(ours, theirs)
            finally:
                theirs.close()

    def _dial(self) -> Any:
        from kubernetes.client import ApiClient, CoreV1Api
        from kubernetes.stream import portforward

        # Of its own: while it dials, the client sends everything as a WebSocket.
        core = CoreV1Api(ApiClient(self.api.client.configuration))
        dial = core.connect_get_namespaced_pod_portforward
        forward = portforward(dial, self.pod, self.api.namespace, ports=str(self.port))
        return forward.socket(self.port)

    def _copy(self, ours: socket.socket, theirs: Any) -> None:
        other = {ours: theirs, theirs: ours}
        while not self.over.is_set():
            for ready in select.select([ours, theirs], [], [], POLL_S)[0]:
                data = ready.recv(BUFFER_BYTES)
                if not data:
                    return
                other[ready].sendall(data)
