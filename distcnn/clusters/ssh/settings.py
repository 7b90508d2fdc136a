"""Settings of the backend ``ssh``, and the file that lists its hosts."""

import re
import shlex
from pathlib import Path
from typing import Any

from pydantic import Field, ValidationError, model_validator

from distcnn.config import ClusterConfig
from distcnn.config.base import Frozen
from distcnn.errors import ConfigError

LINE = "[user@]host[:port] [port=N] [workers=N] [python=PATH] [interface=NAME]"
"""How a host is written."""


class HostConfig(Frozen):
    """A host: a line of the hosts file, or an entry of a list in YAML (such a line, or keys)."""

    host: str = Field(min_length=1)
    """Name or address; an alias of ``~/.ssh/config`` will do."""
    user: str | None = None
    """Who works there; None = ``cluster.user``."""
    port: int | None = Field(None, ge=1, le=65535)
    """Of its ssh server; None = ``cluster.port``."""
    workers: int | None = Field(None, ge=1)
    """Worker processes; None = as many as it has cores for their threads."""
    python: str | None = None
    """Its Python; None = ``cluster.python``."""
    interface: str | None = None
    """Network interface of its workers; None = the address at which ssh reached it."""

    @property
    def name(self) -> str:
        """What it is called in messages."""
        return self.host if self.port is None else f"{self.host}:{self.port}"

    @model_validator(mode="before")
    @classmethod
    def _from_line(cls, value: Any) -> Any:
        return parse_line(value) if isinstance(value, str) else value


OWN_END = 1.5
"""Silence after which a host ends its workers itself, in units of ``lost_after``."""


class SshConfig(ClusterConfig):
    """Hosts that you can log in to with ssh, without a password."""

    hosts: str | tuple[HostConfig, ...] = "hosts.txt"
    """File with a host per line (`[user@]host[:port] [workers=N] [python=PATH] [interface=NAME]`,
    ``#`` begins a comment), or a list of such lines. ``cluster.workers`` limits all together."""
    min_workers: int | None = Field(None, ge=1)
    """Begin with so many where hosts fail; None = every host is needed at the start."""
    user: str | None = None
    """Who works on the hosts; None = what ``~/.ssh/config`` says, else the name you have here."""
    port: int | None = Field(None, ge=1, le=65535)
    """Of their ssh servers; None = what ``~/.ssh/config`` says, else 22."""
    key: Path | None = None
    """Private key; None = those of the ssh agent and the usual files in ``~/.ssh``."""
    known_hosts: Path | None = None
    """File with the keys of the hosts; None = ``~/.ssh/known_hosts``. A host that is not in it is
    refused."""
    python: str | None = None
    """Python of the hosts; None = the path of the one that runs here."""
    setup: tuple[str, ...] = ()
    """Lines for ``sh`` before Python starts on a host, which is no login shell: for modules
    ``. /etc/profile.d/modules.sh``, then ``module load cuda``."""
    address: str | None = None
    """Address of this machine at which the hosts reach it; None = the one that they see."""
    scheduler_port: int = Field(0, ge=0, le=65535)
    """Port of the scheduler, for a firewall with a hole; 0 = any free one."""
    scratch: str | None = None
    """Folder on the hosts for the files of workers, removed at the end; None = that of their
    system."""
    lost_after: float = Field(30.0, ge=12)
    """Silence after which a host is taken for lost [s]: its regions are computed elsewhere. With
    less than 11 s connections of Dask fail at once."""
    connect_timeout: float = Field(20.0, gt=0)
    """Time for a host to answer and to let us in [s]."""

    @property
    def dask_settings(self) -> dict[str, str]:
        """What Dask is to be told on both sides, beside what every backend tells it."""
        return {"distributed.comm.timeouts.tcp": f"{self.lost_after:g} s"}


def parse_line(text: str) -> dict[str, Any]:
    """``"ada@node1:2222 workers=4"`` as the keys of ``HostConfig``.

    Raises
    ------
    ValueError : a word is not ``key=value``, or a key is given twice.
    """
    try:
        first, *words = shlex.split(text, comments=True)
    except ValueError as error:
        raise ValueError(f"{LINE}; {text!r} cannot be read ({error})") from None
    found: dict[str, Any] = {}
    user, at, place = first.rpartition("@")
    if at:
        found["user"] = user
    # An address of IPv6 has colons of its own; with a port it stands in brackets.
    match = re.fullmatch(r"\[([^]]+)\](?::(\d+))?|([^:]*)(?::(\d+))?", place)
    host, port = place, None
    if match is not None:
        host, port = match[1] or match[3] or "", match[2] or match[4]
    found["host"] = host
    if port:
        found["port"] = port
    for word in words:
        key, sign, value = word.partition("=")
        if not sign or not value:
            raise ValueError(f"{LINE}; {word!r} is not key=value")
        if key in found:
            raise ValueError(f"{LINE}; {key} is given twice")
        found[key] = value
    return found


def read_hosts(config: SshConfig) -> tuple[HostConfig, ...]:
    """The hosts, in their order; those of the file if it is one.

    Raises
    ------
    ConfigError : there is no such file, a line of it is not a host, or a host is there twice.
    """
    if isinstance(config.hosts, str):
        entries = _lines(Path(config.hosts).expanduser())
    else:
        numbered = enumerate(config.hosts, start=1)
        entries = [(f"cluster.hosts, entry {n}", host) for n, host in numbered]
    if not entries:
        raise ConfigError(f"there is no host in {config.hosts!r}", expected=f"a line each: {LINE}")
    first: dict[tuple[str | None, str, int | None], str] = {}
    for where, host in entries:
        key = host.user, host.host, host.port
        if key in first:
            raise ConfigError(
                f"{where}: the host {host.name} stands in {first[key]} already",
                expected="every host once",
                cure="Say how many workers it is to have: workers=N.",
            )
        first[key] = where
    return tuple(host for _, host in entries)


def _lines(path: Path) -> list[tuple[str, HostConfig]]:
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, ValueError) as error:
        raise ConfigError(
            f"the hosts file {str(path)!r} cannot be read ({error})",
            expected=f"a host per line: {LINE}",
            cure="Name it with --set cluster.hosts=FILE.",
        ) from None
    return [
        (f"{path}, line {number}", _parsed(line, f"{path}, line {number}"))
        for number, line in enumerate(text.splitlines(), start=1)
        if line.split("#")[0].strip()
    ]


def _parsed(line: str, where: str) -> HostConfig:
    try:
        return HostConfig.model_validate(line)
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(map(str, first["loc"]))
        text = first["msg"].removeprefix("Value error, ")
        if first["type"] == "extra_forbidden":
            known = ", ".join(HostConfig.model_fields)
            raise ConfigError(f"{where}: unknown key {key!r}", expected=f"one of {known}") from None
        shown = f"{key} = {first['input']!r}" if key else repr(line.strip())
        raise ConfigError(f"{where}: {shown}", expected=text[0].lower() + text[1:]) from None
