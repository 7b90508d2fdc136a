"""The backend ``slurm``: Dask workers in jobs of a Slurm cluster (dask-jobqueue).

    distcnn predict package survey.zarr predictions.zarr --cluster slurm --set cluster.workers=64

The scheduler runs in the process of the command, which hands out the regions and so has to live as
long as the run; on a login node that forbids this, the command is a job itself
(``deploy/slurm/predict_dask.sbatch``). Jobs that end are replaced until the command does, and none
is left in the queue when it ends, unless it is killed outright: then workers give up after a
minute without a scheduler, and jobs that begin later as well.
"""

import logging
import secrets
import shutil
import signal
import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from functools import partial
from pathlib import Path
from time import monotonic, sleep
from typing import TYPE_CHECKING, Any

import dask
import psutil
from distributed.security import Security
from distributed.utils import get_ip

from distcnn.clusters import local
from distcnn.clusters.dask_workers.executor import DaskExecutor
from distcnn.clusters.dask_workers.gang import RERUN
from distcnn.clusters.dask_workers.security import (
    choose_security,
    is_loopback,
    tls_variables,
    write_certificates,
)
from distcnn.clusters.dask_workers.settings import dask_settings
from distcnn.clusters.dask_workers.starting.arrival import Arrival, count_workers
from distcnn.clusters.dask_workers.starting.scratch import scratch_folder
from distcnn.clusters.dask_workers.starting.start import close_at_once, start_workers
from distcnn.clusters.slurm.queue import cancel, cancel_all, no_slurm, node_addresses
from distcnn.clusters.slurm.script import JobScript
from distcnn.clusters.slurm.settings import SlurmConfig
from distcnn.errors import ClusterError, MissingExtra
from distcnn.events import Listener, Notice, silent
from distcnn.executor import ExpectedWorkers
from distcnn.stopping import removed_at_end

if TYPE_CHECKING:
    from distcnn.clusters.slurm.jobs import Keeper

__all__ = ["SlurmConfig", "expect", "open_executor", "render"]

POLL_S = 0.2
LOGS = Path("slurm.logs")
"""Where logs go if neither the configuration nor the command says."""


@contextmanager
def open_executor(config: SlurmConfig, listener: Listener = silent) -> Iterator[DaskExecutor]:
    """Workers in jobs, the scheduler here.

    Raises
    ------
    ClusterError : there is no Slurm here, it refuses the jobs, they end as soon as they begin, or
        the scheduler would listen where the nodes do not reach it.
    MissingExtra : dask-jobqueue is not installed, or cryptography where a certificate is to be
        made.
    """
    _require()
    host = _address_here(config)
    name, logs = f"distcnn-{secrets.token_hex(3)}", config.logs or LOGS
    local.check_address(config.dashboard)
    with ExitStack() as stack:
        folder = stack.enter_context(scratch_folder())
        stack.enter_context(_log_folder(logs, name))
        security = choose_security(config.tls, loopback=is_loopback(host))
        if security is not None:
            keys = stack.enter_context(_private_folder(logs / f".{name}"))
            security = write_certificates(security, keys)
        variables = {} if security is None else tls_variables(security)
        script = JobScript(config, name, logs, variables)
        settings = dask_settings(folder, config.threads)
        stack.enter_context(dask.config.set(settings))
        start = partial(_start, config, script, host, security)
        cluster, client = start_workers(start, 0, listener)
        from distcnn.clusters.slurm.jobs import Keeper

        keeper = Keeper(cluster, script, listener)
        stack.push(partial(_stop, cluster, client, keeper))
        keeper.start()
        listener(Notice(f"{config.jobs} Slurm jobs called {name}; their logs are in {logs}"))
        _wait(client, keeper, listener)
        yield DaskExecutor(
            client,
            config,
            workers=config.total,
            dashboard=local.dashboard_of(config, cluster),
            why=keeper.why,
            coming=keeper.coming,
        )


def expect(config: SlurmConfig) -> ExpectedWorkers:
    """Those of all jobs; each gets the limit at which it is killed, and its job asks Slurm for it.

    In a job with GPUs there is a worker for each of them.

    Raises
    ------
    ClusterError, MissingExtra : there is no Slurm here, or no dask-jobqueue.
    """
    _require()
    return ExpectedWorkers(config.total, config.memory_limit, config.threads, min(config.gpus, 1))


def render(config: SlurmConfig) -> str:
    """The script of a job, as it would be submitted."""
    script = JobScript(config, "distcnn-NAME", config.logs or LOGS)
    scheme = "tcp" if config.tls.mode == "off" else "tls"
    return script.render(f"{scheme}://HOST:PORT", "distcnn-NAME-0")


def _require() -> None:
    before = signal.getsignal(signal.SIGINT)
    try:
        import dask_jobqueue  # noqa: F401
    except ImportError:
        raise MissingExtra.of("Slurm clusters", "dask-jobqueue", "slurm") from None
    finally:
        # It makes Ctrl-C end every process that imports it, without an error.
        if signal.getsignal(signal.SIGINT) is not before:
            signal.signal(signal.SIGINT, before)
    for program in ("sbatch", "squeue", "scancel"):
        if shutil.which(program) is None:
            raise no_slurm(program)


def _address_here(config: SlurmConfig) -> str:
    """Where the scheduler listens."""
    interface = config.scheduler_interface or config.interface
    find: Callable[[], str] = get_ip
    address = find() if interface is None else _address_of(interface)
    if is_loopback(address) and not _all_nodes_are_here(config):
        raise ClusterError(
            f"the scheduler would listen at {address}, where no other machine reaches it",
            expected="the interface of this machine at which the nodes see it",
            cure="Name it with cluster.interface (or cluster.scheduler_interface if nodes call "
            f"theirs otherwise): {', '.join(sorted(psutil.net_if_addrs()))}.",
        )
    return address


def _address_of(interface: str) -> str:
    addresses = psutil.net_if_addrs()
    for one in addresses.get(interface, []):
        if one.family == socket.AF_INET:
            return one.address
    raise ClusterError(
        f"this machine has no interface {interface!r} with an address",
        expected=f"one of {', '.join(sorted(addresses))}",
        cure="Set cluster.interface, or cluster.scheduler_interface where nodes call theirs "
        "otherwise.",
    )


def _all_nodes_are_here(config: SlurmConfig) -> bool:
    """Whether the cluster is this machine alone, as for a trial."""
    own = {one.address for every in psutil.net_if_addrs().values() for one in every}
    for node in node_addresses(config.partition):
        address = node
        with suppress(OSError):
            address = socket.gethostbyname(node)
        if address not in own:
            return False
    return True


@contextmanager
def _log_folder(logs: Path, name: str) -> Iterator[None]:
    """The folder, there while the block runs; afterwards without logs that say nothing."""
    logs.mkdir(parents=True, exist_ok=True)
    try:
        yield
    finally:
        for file in logs.glob(f"{name}-*.log"):
            if not file.stat().st_size:
                file.unlink(missing_ok=True)
        with suppress(OSError):  # something is in it
            logs.rmdir()


@contextmanager
def _private_folder(folder: Path) -> Iterator[Path]:
    """A new folder that this user alone can read; gone afterwards."""
    folder.mkdir(mode=0o700)
    try:
        with removed_at_end(folder):
            yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _start(config: SlurmConfig, script: JobScript, host: str, security: Security | None) -> Any:
    from distcnn.clusters.slurm.jobs import JobCluster

    options: dict[str, Any] = {"host": host, **local.scheduler_arguments(config)}
    return JobCluster(
        script=script,
        scheduler_options=options,
        security=security,
        protocol="tcp://" if security is None else "tls://",
        interface=None,
        silence_logs=logging.CRITICAL,
    )


def _wait(client: Any, keeper: "Keeper", listener: Listener) -> None:
    """Until all workers are there, or enough and the rest does not come soon."""
    config = keeper.config
    arrival = Arrival(config.total, listener, keeper.note)
    came, enough, deadline = 0, None, monotonic() + config.patience
    least = min(config.minimum_workers, config.total)
    while came < config.total:
        sleep(POLL_S)
        now = count_workers(client)
        if now > came or (now < least and keeper.coming()):
            deadline = monotonic() + config.patience
        came = now
        if came < least:
            enough = None
        elif enough is None:
            enough = monotonic()
        elif keeper.given_up or monotonic() - enough > config.gather:
            arrival.rest_comes_later(came)
            return
        if monotonic() > deadline:
            raise ClusterError(
                f"{came} {arrival}: {keeper.why()}", expected=f"{least} workers", cure=RERUN
            )
        arrival.tell(came)
    arrival.complete(came)


def _stop(
    cluster: Any, client: Any, keeper: "Keeper", kind: type[BaseException] | None, *_: object
) -> None:
    """Cancel all jobs at once, and once more what was being submitted meanwhile."""
    keeper.stop()
    name = keeper.script.name
    try:
        cancel(name)
        for job in list(cluster.workers.values()):
            job.job_id = ""  # so that Dask does not cancel each by itself
        if kind is not None and not issubclass(kind, Exception):
            close_at_once(cluster)
        else:
            local.stop(cluster, client, None)
        left = cancel_all(name)
    except ClusterError as error:
        keeper.listener(Notice(f"{error} Cancel what is left: scancel --name {name}", "warning"))
        close_at_once(cluster)
        return
    if left:
        keeper.listener(Notice(f"Slurm still ends {'; '.join(map(str, left))}", "warning"))
