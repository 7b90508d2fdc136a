"""A real Slurm cluster on this machine: munged, slurmctld, and a slurmd for each node.

Everything lies in one folder and listens at ports that were free just now; what is started here
ends here, jobs included. Debian's packages: slurmctld slurmd slurm-client munge.
"""

import getpass
import os
import secrets
import shutil
import signal
import socket
import subprocess
from contextlib import suppress
from pathlib import Path

import psutil
from conformance.cluster_checks import wait_until

from tests.conftest import kill_unless_tracker

PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "squeue", "scancel", "sinfo")
CORES = 2
GPUS = 2

CONFIGURATION = """
ClusterName=test
SlurmctldHost={host}(127.0.0.1)
SlurmUser={user}
SlurmdUser={user}
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket
CredType=cred/munge
SlurmctldPort={port}
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd-%n.pid
SlurmdSpoolDir={folder}/spool-%n
StateSaveLocation={folder}/state
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd-%n.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
MpiDefault=none
SwitchType=switch/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SchedulerType=sched/backfill
SchedulerParameters=batch_sched_delay=0,sched_interval=1,bf_interval=1
SlurmdParameters=config_overrides
GresTypes=gpu
ReturnToService=2
SlurmdTimeout=10
SlurmctldTimeout=10
InactiveLimit=0
KillWait=2
MinJobAge=300
Waittime=0
JobRequeue=0
EnforcePartLimits=ALL
PartitionName=debug Nodes=ALL Default=YES MaxTime=INFINITE State=UP OverSubscribe=NO
PartitionName=short Nodes=ALL MaxTime=1 State=UP OverSubscribe=NO
"""


def missing_programs() -> list[str]:
    """What of Slurm is not installed."""
    path = f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"
    return [name for name in PROGRAMS if shutil.which(name, path=path) is None]


class SlurmCluster:
    """Daemons in ``folder``; ``environment`` is for programs that are to speak to them."""

    def __init__(self, folder: Path, nodes: int = 2) -> None:
        self.folder = folder
        self.nodes = [f"n{number + 1}" for number in range(nodes)]
        self.configuration = folder / "slurm.conf"
        self.environment = os.environ | {
            "SLURM_CONF": str(self.configuration),
            "PATH": f"{os.environ['PATH']}:/usr/sbin:/sbin",
        }
        self.daemons: dict[str, psutil.Popen] = {}
        (folder / "state").mkdir()
        (folder / "munge.key").write_bytes(secrets.token_bytes(128))
        (folder / "munge.key").chmod(0o400)
        self._configure()
        try:
            self._start()
        except BaseException:
            self.stop()
            raise

    def _configure(self) -> None:
        host, ports = socket.gethostname().partition(".")[0], free_ports(1 + len(self.nodes))
        text = CONFIGURATION.format(
            host=host, user=getpass.getuser(), folder=self.folder, port=ports[0]
        )
        for name, port in zip(self.nodes, ports[1:], strict=True):
            text += (
                f"NodeName={name} NodeHostname={host} NodeAddr=127.0.0.1 Port={port} "
                f"CPUs={CORES} RealMemory=8000 Gres=gpu:{GPUS} State=UNKNOWN\n"
            )
        self.configuration.write_text(text)
        # Any device files will do: nothing opens them.
        gpus = "".join(f"NodeName={n} Name=gpu File=/dev/tty[1-{GPUS}]\n" for n in self.nodes)
        (self.folder / "gres.conf").write_text(gpus)

    def _start(self) -> None:
        at = self.folder
        self._run(
            *("munged", "--foreground", "--force", f"--key-file={at}/munge.key"),
            *(f"--socket={at}/munge.socket", f"--pid-file={at}/munged.pid"),
            *(f"--log-file={at}/munged.log", f"--seed-file={at}/munged.seed"),
        )
        wait_until((at / "munge.socket").exists, 30)
        self._run("slurmctld", "-D", "-c", "-f", str(self.configuration))
        for node in self.nodes:
            self.start_node(node)
        wait_until(
            lambda: self.ask("sinfo", "-h", "-t", "idle", "-o", "%D") == str(len(self.nodes)), 60
        )

    def _run(self, *command: str, name: str | None = None) -> None:
        with (self.folder / f"{name or command[0]}.out").open("ab") as log:
            self.daemons[name or command[0]] = psutil.Popen(
                command,
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def start_node(self, node: str) -> None:
        """A node, which may have been here before."""
        self._run("slurmd", "-D", "-N", node, "-f", str(self.configuration), name=node)

    def crash_node(self, node: str) -> None:
        """Kill its daemon and everything that its jobs have started, as a power cut would."""
        running = self.ask("squeue", "-h", "-w", node, "-t", "running", "-o", "%A").split()
        jobs = {f"SLURM_JOB_ID={job}" for job in running}
        daemon = self.daemons.pop(node)
        daemon.kill()
        victims = [one for one in self._processes() if jobs & set(_environment(one))]
        steps = [one for one in psutil.process_iter() if _is_step(one, running)]
        for one in (*steps, *victims):
            kill_unless_tracker(one)
        daemon.wait()

    def ask(self, *command: str) -> str:
        """What a program of Slurm prints; empty where it fails."""
        answer = subprocess.run(
            command, env=self.environment, capture_output=True, text=True, check=False
        )
        return answer.stdout.strip()

    def jobs(self, *states: str) -> list[str]:
        """Numbers of the jobs that wait or run, or that are in one of the states."""
        chosen = states or ("pending", "running", "configuring", "suspended")
        return self.ask("squeue", "-h", "-t", ",".join(chosen), "-o", "%A").split()

    def workers(self) -> list[str]:
        """Command lines of what jobs have started and is still there."""
        found = []
        for one in self._processes():
            with suppress(psutil.Error):
                line = " ".join(one.cmdline())
                if "dask_worker" in line or "spawn_main" in line:
                    found.append(line)
        return found

    def stop(self) -> None:
        """End the daemons and the jobs."""
        for daemon in reversed(self.daemons.values()):
            daemon.send_signal(signal.SIGTERM)
        left = self._processes()
        for one in left:
            kill_unless_tracker(one)
        for daemon in self.daemons.values():
            daemon.wait(timeout=30)
        psutil.wait_procs(left, timeout=30)

    def _processes(self) -> list[psutil.Process]:
        """All that were told of this cluster: daemons, and what jobs have started."""
        mark, me = f"SLURM_CONF={self.configuration}", psutil.Process()
        mine = {me.pid, *(one.pid for one in me.parents())}
        return [p for p in psutil.process_iter() if p.pid not in mine and mark in _environment(p)]


def _environment(process: psutil.Process) -> list[str]:
    with suppress(psutil.Error):
        return [f"{name}={value}" for name, value in process.environ().items()]
    return []


def _is_step(process: psutil.Process, jobs: list[str]) -> bool:
    with suppress(psutil.Error):
        line = " ".join(process.cmdline())
        return any(line.startswith(f"slurmstepd: [{job}.") for job in jobs)
    return False


def free_ports(count: int) -> list[int]:
    """Ports that nobody listens at just now."""
    sockets = [socket.socket() for _ in range(count)]
    try:
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]
    finally:
        for one in sockets:
            one.close()
