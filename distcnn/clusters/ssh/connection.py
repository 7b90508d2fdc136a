"""Connections to hosts by ssh, and what it means when there is none.

asyncssh reads ``~/.ssh/config`` (aliases, users, ports, jump hosts), the ssh agent and the usual
keys, as ``ssh`` does. It never asks: there is no one to type a password for sixteen hosts. The
key of a host is always checked.
"""

import shlex
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from distcnn.clusters.ssh.settings import HostConfig, SshConfig
from distcnn.errors import MissingExtra

if TYPE_CHECKING:
    import asyncssh

KEEPALIVE_COUNT = 6
"""Questions without an answer, in a row, after which a host is lost."""


class HostRefused(Exception):
    """A host cannot be used: why, and what the user can do about it."""

    def __init__(self, why: str, cure: str = "") -> None:
        self.why, self.cure = why, cure
        super().__init__(why)


def require_asyncssh() -> None:
    """Say how to install what this backend needs.

    Raises
    ------
    MissingExtra : it is not installed.
    """
    try:
        import asyncssh  # noqa: F401
    except ImportError:
        raise MissingExtra.of("Clusters of ssh hosts", "asyncssh", "ssh") from None


@asynccontextmanager
async def connected(
    config: SshConfig, host: HostConfig
) -> AsyncIterator["asyncssh.SSHClientConnection"]:
    """A connection to a host, closed at exit.

    Raises
    ------
    HostRefused : it cannot be reached, its key is not known, or it does not let us in.
    """
    import asyncssh

    try:
        connection = await asyncssh.connect(host.host, **_options(config, host))
    except (OSError, ValueError, asyncssh.Error) as error:
        raise explain(error, config, host) from None
    try:
        yield connection
    except (OSError, asyncssh.Error) as error:
        raise explain(error, config, host) from None
    finally:
        connection.abort()


def _options(config: SshConfig, host: HostConfig) -> dict[str, Any]:
    given: dict[str, Any] = {
        "port": host.port or config.port,
        "username": host.user or config.user,
        "client_keys": None if config.key is None else [str(config.key.expanduser())],
        # None would switch the check off: it is left out, which means the user's file.
        "known_hosts": None if config.known_hosts is None else str(config.known_hosts.expanduser()),
    }
    return {
        **{name: value for name, value in given.items() if value is not None},
        "connect_timeout": config.connect_timeout,
        "login_timeout": config.connect_timeout,
        "keepalive_interval": config.lost_after / KEEPALIVE_COUNT,
        "keepalive_count_max": KEEPALIVE_COUNT,
    }


def explain(error: Exception, config: SshConfig, host: HostConfig) -> HostRefused:
    """What an error of a connection means to a user."""
    import asyncssh

    if isinstance(error, asyncssh.HostKeyNotVerifiable):
        return _unknown_key(config, host)
    if isinstance(error, asyncssh.PermissionDenied):
        who = host.user or config.user or "you"
        key = "" if config.key is None else f" with the key {config.key}"
        return HostRefused(
            f"permission denied for {who}{key}",
            f"`ssh {host.host}` must work without a password: ssh-copy-id, or name cluster.key.",
        )
    if isinstance(error, asyncssh.KeyImportError):
        return HostRefused(f"a key cannot be used ({error})", "Name another with cluster.key.")
    return HostRefused(_of_the_network(error, config))


def _of_the_network(error: Exception, config: SshConfig) -> str:
    if isinstance(error, TimeoutError):
        return f"no answer within {config.connect_timeout:g} s"
    if isinstance(error, FileNotFoundError) and error.filename:
        return f"there is no file {error.filename} here"
    if isinstance(error, OSError):
        return f"cannot be reached ({error.strerror or error})"
    text = " ".join(str(error).split())
    return f"the connection ended ({text or type(error).__name__})"


def _unknown_key(config: SshConfig, host: HostConfig) -> HostRefused:
    file = config.known_hosts or "~/.ssh/known_hosts"
    port = host.port or config.port
    scan = f"ssh-keyscan {f'-p {port} ' if port else ''}{host.host} >> {file}"
    return HostRefused(
        f"its key is not in {file}, or another one is",
        f"Add it after comparing it with the host's own: {scan}",
    )


def python_of(config: SshConfig, host: HostConfig) -> str:
    """The Python of a host: by default at the path of the one that runs here."""
    return host.python or config.python or sys.executable


def python_command(config: SshConfig, host: HostConfig, *arguments: str) -> str:
    """The shell command that starts Python on a host.

    ``sh`` is named because the user's own shell may be of another kind; what stands in quotes on
    one line means the same in all of them.
    """
    python = " ".join(map(shlex.quote, (python_of(config, host), "-u", *arguments)))
    return f"sh -c {shlex.quote(' && '.join((*config.setup, f'exec {python}')))}"
