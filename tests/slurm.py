"""A real Slurm of one node for the tests: munged, slurmctld and slurmd, with ports, key and state of their own.

It runs as root, without control groups: what a job starts is found by its processes' parents. All of it is in a
PID namespace, and ends with it.
"""

from __future__ import annotations

import os
import secrets
import shutil
import socket
import subprocess
import tempfile
from pathlib import Path

from tests.servers import free_port, wait_until

START_TIMEOUT_S = 30.0
CPUS = 4
"""That Slurm believes in."""

_SLURM_CONF = """
ClusterName=test
SlurmctldHost={node}(127.0.0.1)
SlurmctldPort={controller_port}
SlurmdPort={node_port}
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket,cred_expire=10
CredType=cred/munge
SlurmUser=root
SlurmdUser=root
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
SlurmctldDebug=verbose
SlurmdDebug=verbose
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SwitchType=switch/none
MpiDefault=none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
SlurmdParameters=config_overrides
SchedulerParameters=sched_interval=2,bf_interval=2
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
SlurmctldParameters=preempt_send_user_signal
ReturnToService=2
InactiveLimit=0
NodeName={node} NodeAddr=127.0.0.1 CPUs={cpus} RealMemory=1000 State=UNKNOWN
PartitionName=low Nodes={node} Default=YES MaxTime=INFINITE PriorityTier=1 GraceTime=10 State=UP
PartitionName=high Nodes={node} MaxTime=INFINITE PriorityTier=2 PreemptMode=OFF State=UP
"""


_INSIDE = """
set -eu
cd "$1"
munged --foreground --force --num-threads 1 --key-file "$1/munge.key" --socket "$1/munge.socket" \\
    --pid-file "$1/munge.pid" --log-file "$1/munged.log" --seed-file "$1/munge.seed" &
until [ -S "$1/munge.socket" ]; do sleep 0.05; done
slurmctld -D -c -i -f "$1/slurm.conf" &
slurmd -D -c -N "$2" -f "$1/slurm.conf" &
wait
"""
"""The daemons, started from process 1. Called with the folder and the node's name."""


class Slurm:
    """A Slurm of its own: ``start`` and ``stop``, as `tests.servers.serving` calls them.

    Attributes:
        folder: configuration, logs and state.
    """

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="slurm-"))
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Raises `RuntimeError` when this machine can't: not root, not installed, or it does not start."""
        missing = [name for name in ("munged", "slurmctld", "slurmd", "sbatch") if not shutil.which(name)]
        if os.geteuid() != 0 or missing:
            raise RuntimeError(
                "a Slurm for tests takes root and: apt install slurmctld slurmd slurm-client munge"
            )
        node = socket.gethostname().split(".")[0]
        self._configure(node)
        with (self.folder / "output.log").open("wb") as log:
            self._process = subprocess.Popen(
                [
                    *("unshare", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc"),
                    *("bash", "-c", _INSIDE, "bash", str(self.folder), node),
                ],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        if not wait_until(self._process, self._idles, START_TIMEOUT_S):
            logs = "\n".join(path.read_text()[-2000:] for path in self.folder.glob("*.log"))
            self.stop()
            raise RuntimeError(f"Slurm does not start here:\n{logs}")

    def stop(self) -> None:
        """End it, with all that its jobs have started."""
        if self._process is not None:
            self._process.kill()
            self._process.wait(10)
            self._process = None
        shutil.rmtree(self.folder, ignore_errors=True)

    def call(self, *argv: str, **env: str) -> str:
        """What one of Slurm's commands prints. Raises `CalledProcessError` with its complaint."""
        done = subprocess.run(
            argv,
            env={**os.environ, "SLURM_CONF": str(self.folder / "slurm.conf"), **env},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == 0, f"{argv}: {done.stderr}"
        return done.stdout

    def job(self, job_id: str) -> dict[str, str]:
        """What Slurm knows of a job, or of an element of an array, as ``12_0``."""
        shown = self.call("scontrol", "--oneliner", "show", "job", job_id)
        return dict(word.partition("=")[::2] for word in shown.split())

    def _idles(self) -> bool:
        try:
            return self.call("sinfo", "--noheader", "--partition=low", "--format=%T").strip() == "idle"
        except AssertionError:
            return False

    def _configure(self, node: str) -> None:
        key = self.folder / "munge.key"
        key.touch(mode=0o600)
        key.write_bytes(secrets.token_bytes(128))
        self.folder.chmod(0o755)
        for name in ("state", "spool"):
            (self.folder / name).mkdir()
        conf = _SLURM_CONF.format(
            folder=self.folder, node=node, cpus=CPUS, controller_port=free_port(), node_port=free_port()
        )
        (self.folder / "slurm.conf").write_text(conf)
        (self.folder / "cgroup.conf").write_text("CgroupPlugin=cgroup/v1\n")
