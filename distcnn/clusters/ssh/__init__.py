"""The backend ``ssh``: Dask workers on hosts that one can log in to.

    hosts.txt:  node1 workers=8
                ada@node2:2222 workers=16 python=/opt/distcnn/bin/python
    distcnn predict package survey.zarr predictions.zarr --cluster ssh

The scheduler runs in the process of the command, as for workers on this machine. The command has
to live as long as the run anyway, since it hands out the regions: a scheduler on a host would only
be one more thing that can be lost. It listens at the address at which the hosts see this machine;
where there is none (this machine is behind a router), run the command on one of the hosts.

Not Dask's ``SSHCluster``: it has no way to name the Python of one host or to keep keys off the
command line, never starts a worker again that was lost, and leaves workers behind when the command
is killed. Instead a program of our own (``agent``) runs on every host for as long as the command
speaks to it, and the command (``watch``) starts it again when its host is back.
"""

import socket
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from time import monotonic
from typing import Any

import dask
import psutil
from distributed import Scheduler, SpecCluster
from distributed.security import Security

from distcnn.clusters import local
from distcnn.clusters.dask_workers.executor import DaskExecutor
from distcnn.clusters.dask_workers.security import choose_security, is_loopback, pem_texts
from distcnn.clusters.dask_workers.settings import dask_settings
from distcnn.clusters.dask_workers.starting.arrival import wait_for_workers
from distcnn.clusters.dask_workers.starting.scratch import scratch_folder
from distcnn.clusters.dask_workers.starting.start import start_workers
from distcnn.clusters.ssh.connection import require_asyncssh
from distcnn.clusters.ssh.examine import Host, Unfit, examine_hosts
from distcnn.clusters.ssh.settings import OWN_END, HostConfig, SshConfig, read_hosts
from distcnn.clusters.ssh.watch import Loop, Watch
from distcnn.errors import ClusterError
from distcnn.events import Listener, Notice, silent
from distcnn.executor import ExpectedWorkers

__all__ = ["HostConfig", "SshConfig", "expect", "open_executor"]

UNENCRYPTED = "cluster.tls is off: whoever reaches this address can run code as you:"
KEPT_S = 60.0
"""Time for which is believed what hosts have said of themselves."""
_KEPT: dict[tuple[SshConfig, tuple[HostConfig, ...]], tuple[float, list[Host | Unfit]]] = {}


@contextmanager
def open_executor(config: SshConfig, listener: Listener = silent) -> Iterator[DaskExecutor]:
    """Workers on every host, the scheduler here.

    Raises
    ------
    ClusterError : a host cannot be used, or too few workers come; names each with the reason.
    ConfigError : the hosts file cannot be used.
    MissingExtra : asyncssh is not installed, or cryptography where a certificate is to be made.
    """
    with ExitStack() as stack:
        loop = stack.enter_context(_loop())
        hosts = _find_hosts(loop, config, listener)
        workers = sum(len(host.worker_names) for host in hosts)
        address = address_here(config, hosts)
        security = choose_security(config.tls, loopback=is_loopback(address))
        if security is None and not is_loopback(address):
            listener(Notice(f"{UNENCRYPTED} {address}", "warning"))
        folder = stack.enter_context(scratch_folder())
        usual = dask_settings(folder, config.threads)
        stack.enter_context(dask.config.set({**usual, **config.dask_settings}))
        cluster, client = start_workers(lambda: _start(config, address, security, folder), 0)
        stack.push(partial(local.stop, cluster, client))
        watch = Watch(loop, config, hosts, _order(config, cluster, security), listener)
        stack.callback(watch.stop)
        watch.start()
        least = workers if config.min_workers is None else config.min_workers
        came = wait_for_workers(
            client,
            _to_wait_for(watch, least, listener),
            patience=config.patience,
            least=least,
            listener=listener,
            why=watch.why,
        )
        watch.begun = True
        dashboard = local.dashboard_of(config, cluster)
        yield DaskExecutor(client, config, workers=came, dashboard=dashboard)


def expect(config: SshConfig) -> ExpectedWorkers:
    """As many as the hosts are to have; asks those that do not say, and whether they are fit.

    Each gets the limit at which a worker is killed, or what is free now on the host with least.

    Raises
    ------
    ClusterError, ConfigError, MissingExtra : as ``open_executor``.
    """
    hosts = _ask_hosts(config)
    count = sum(len(host.worker_names) for host in hosts)
    memory = min(config.memory_limit, *(host.memory for host in hosts))
    return ExpectedWorkers(count, memory, config.threads)


def _ask_hosts(config: SshConfig) -> list[Host]:
    with _loop() as loop:
        return _find_hosts(loop, config, silent)


@contextmanager
def _loop() -> Iterator[Loop]:
    require_asyncssh()
    loop = Loop()
    try:
        yield loop
    finally:
        loop.close()


def _find_hosts(loop: Loop, config: SshConfig, listener: Listener) -> list[Host]:
    """Those that are fit, with their workers named; refuses if that is not enough."""
    asked = read_hosts(config)
    found = _ask(loop, config, asked)
    fit = [one for one in found if isinstance(one, Host)]
    unfit = [one for one in found if isinstance(one, Unfit)]
    named = name_workers(config, fit)
    workers = sum(len(host.worker_names) for host in named)
    if unfit and (config.min_workers is None or workers < config.min_workers):
        raise _unusable([str(one) for one in unfit], len(asked), [one.cure for one in unfit])
    for one in unfit:
        listener(Notice(f"host {one}: {workers} workers begin without it", "warning"))
    return named


def _ask(loop: Loop, config: SshConfig, asked: tuple[HostConfig, ...]) -> list[Host | Unfit]:
    # A command asks for workers, then for their memory, then for the workers themselves.
    kept = _KEPT.get((config, asked))
    if kept is None or monotonic() - kept[0] > KEPT_S:
        kept = monotonic(), loop.run(examine_hosts(config, asked))
        _KEPT.clear()
        _KEPT[config, asked] = kept
    return kept[1]


def _unusable(reasons: Sequence[str], asked: int, cures: Sequence[str]) -> ClusterError:
    usual = "Set cluster.min_workers to begin without them."
    return ClusterError(
        f"{len(reasons)} of {asked} hosts cannot be used: {'; '.join(reasons)}",
        expected="every host of cluster.hosts",
        cure=" ".join(dict.fromkeys(filter(None, (*cures, usual)))),
    )


def name_workers(config: SshConfig, hosts: Sequence[Host]) -> list[Host]:
    """The hosts that are to have workers, with these; ``config.workers`` is shared out evenly."""
    cores = [max(1, host.cores // config.threads) for host in hosts]
    most = [host.config.workers or of for host, of in zip(hosts, cores, strict=True)]
    # One for each host, then the second of each, and so on until there are enough.
    seats = sorted((n, place) for place, count in enumerate(most) for n in range(count))
    taken = [place for _, place in seats[: config.workers]]
    named = [
        replace(host, worker_names=tuple(f"{host.name}-{n}" for n in range(taken.count(place))))
        for place, host in enumerate(hosts)
    ]
    return [host for host in named if host.worker_names]


def address_here(config: SshConfig, hosts: Sequence[Host]) -> str:
    """Where the scheduler listens."""
    if config.address is not None:
        return config.address
    seen = {host.seen: host.name for host in hosts}
    # A host that is this machine sees it at its loopback address; it knows the others too.
    beyond = {address: name for address, name in seen.items() if not is_loopback(address)}
    cure = "Name an address of this machine that all hosts reach, cluster.address."
    if len(beyond) > 1:
        places = ", ".join(f"{name} sees {address}" for address, name in beyond.items())
        raise ClusterError(
            f"the hosts see this machine at different addresses ({places})",
            expected="one at which the scheduler listens",
            cure=cure,
        )
    address = next(iter(beyond), next(iter(seen)))
    interfaces = psutil.net_if_addrs().values()
    if address not in {one.address.split("%")[0] for all_of in interfaces for one in all_of}:
        raise ClusterError(
            f"{seen[address]} sees this machine at {address}, which is not an address of it",
            expected="hosts that can reach it",
            cure=f"{cure} Behind a router there is none: run the command on one of the hosts.",
        )
    return address


def _start(config: SshConfig, address: str, security: Security | None, folder: Path) -> Any:
    """A scheduler in this process that knows of no workers but those that come."""
    local.check_address(config.dashboard)
    _check_port(address, config.scheduler_port)
    options: dict[str, Any] = {
        "host": address,
        "port": config.scheduler_port,
        "protocol": "tcp" if security is None else "tls",
        "security": security,
        **local.scheduler_arguments(config),
    }
    return SpecCluster(  # type: ignore[no-untyped-call]
        workers={},
        scheduler={"cls": Scheduler, "options": options},
        security=security,
        silence_logs=50,
    )


def _check_port(address: str, port: int) -> None:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    try:
        with socket.socket(family) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((address, port))
    except OSError as error:
        raise ClusterError(
            f"the scheduler cannot listen at {address}, port {port} ({error.strerror or error})",
            expected="an address of this machine, and a port that is free (0 = any)",
            cure="Set cluster.address and cluster.scheduler_port.",
        ) from None


def _order(config: SshConfig, cluster: Any, security: Security | None) -> dict[str, Any]:
    """What every agent is told; it travels inside the ssh connection."""
    return {
        "scheduler": cluster.scheduler_address,
        "security": None if security is None else pem_texts(security),
        "memory": config.memory_limit,
        "threads": config.threads,
        "settings": config.dask_settings,
        "silence": OWN_END * config.lost_after,
        "folder": config.scratch,
    }


def _to_wait_for(watch: Watch, least: int, listener: Listener) -> int:
    """How many workers may come: those of hosts that have not failed by now."""
    lost = [one for one in watch.watched if one.lost]
    count = sum(one.wanted for one in watch.watched if not one.lost)
    reasons = [f"{one.host.name}: {one.reason}" for one in lost]
    if lost and count < least:
        raise _unusable(reasons, len(watch.watched), ())
    for reason in reasons:
        listener(Notice(f"host {reason}: {count} workers begin without it", "warning"))
    return count
