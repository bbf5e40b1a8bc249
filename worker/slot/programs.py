"""The programs that objectives run as."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from worker.process.cgroups import enter
from worker.process.channel import SOCKET_VARIABLE, Message, encode
from worker.process.parent_death import die_with_parent
from worker.process.process_tree import kill_tree, signal_group
from worker.protocol.command import fill
from worker.protocol.errors import BadInput, ObjectiveLoadError
from worker.protocol.record import TaskRecord
from worker.protocol.seeds import SEED_VARIABLE
from worker.protocol.values import bare
from worker.runner.objective import check_script, script_path

_SECRETS = ("REDIS_URL", "OPTUNA_STORAGE")
"""Not for programs: what they need of Redis and of the study goes through the slot."""


_shared: dict[str, str] = {}


def share_with_programs(**variables: str) -> None:
    """Give programs these environment variables although they are secrets: their worker was told to."""
    _shared.update(variables)
    for name in _SECRETS:
        if name in os.environ:
            _shared.setdefault(name, os.environ[name])


def program_environment(extra: Mapping[str, str]) -> dict[str, str]:
    """A program's environment: the worker's, without credentials of Redis and of the database."""
    environment = {
        k: v
        for k, v in os.environ.items()
        if k.removesuffix("_FILE") not in _SECRETS and not k.startswith("OPTUNA_RQ_")
    }
    environment.update(_shared)
    environment.update(extra)
    # Output reaches the log as it is written.
    environment["PYTHONUNBUFFERED"] = "1"
    return environment


class Program:
    """A started process that leads its own process group, with its output on a pipe.

    Attributes:
        pid: of the process.
        stdout, stderr: read ends of its output, non-blocking; the same where they are not told apart.
        channel: socket to a runner, or None.
    """

    def __init__(
        self,
        argv: list[str],
        *,
        env: Mapping[str, str],
        folder: Path,
        split_output: bool,
        channel: bool,
        cgroup: str = "",
    ) -> None:
        ours = theirs = None
        if channel:
            ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
            argv = [*argv, str(theirs.fileno()), str(os.getpid())]
        parent = os.getpid()
        try:
            self._process = subprocess.Popen(
                argv,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE if split_output else subprocess.STDOUT,
                env=dict(env),
                cwd=folder,
                start_new_session=True,
                pass_fds=[theirs.fileno()] if theirs else [],
                # A slot has one thread, so that running Python between fork and exec is safe here.
                preexec_fn=None if channel else lambda: _begin(parent, cgroup),
                bufsize=0,
            )
        finally:
            if theirs:
                theirs.close()
        assert self._process.stdout is not None
        self.pid = self._process.pid
        self.channel = ours
        self.stdout = self._process.stdout.fileno()
        self.stderr = self._process.stderr.fileno() if self._process.stderr else self.stdout
        for descriptor in {self.stdout, self.stderr}:
            os.set_blocking(descriptor, False)

    @property
    def runs_as(self) -> int:
        """Process id of what runs the trial."""
        return self.pid

    @property
    def ends_by_itself(self) -> bool:
        """Whether its process ends with its trial: its end is awaited, also when its result is known."""
        return True

    def poll(self) -> int | None:
        """The exit code, negative for a signal, or None while it runs."""
        return self._process.poll()

    def wait(self, timeout: float) -> int | None:
        with contextlib.suppress(subprocess.TimeoutExpired):
            return self._process.wait(timeout)
        return None

    def send(self, message: Message) -> None:
        """Tell a runner something. A runner that is gone is noticed by its exit."""
        if self.channel:
            with contextlib.suppress(OSError):
                self.channel.sendall(encode(message))

    def terminate(self) -> None:
        """SIGTERM to the whole group."""
        signal_group(self.pid, signal.SIGTERM)

    def kill(self, keep: frozenset[int] = frozenset()) -> None:
        """SIGKILL to everything the program has started, and wait for it."""
        kill_tree(self.pid, keep=keep)
        self.wait(5.0)

    def close(self) -> None:
        """Close our ends. A runner ends by itself then."""
        if self.channel:
            self.channel.close()
        for stream in (self._process.stdout, self._process.stderr):
            if stream:
                stream.close()


def _begin(parent: int, cgroup: str) -> None:
    die_with_parent(parent)
    if cgroup:
        enter(cgroup)


def script_argv(objective: Mapping[str, Any], folder: Path) -> list[str]:
    """The command line of a script objective. Raises `ObjectiveLoadError` when it can't be run here."""
    arguments = objective.get("args", [])
    if objective.get("module"):
        return [sys.executable, "-m", objective["module"], *arguments]
    path = script_path(objective, folder)
    check_script(path)
    return [sys.executable, str(path), *arguments]


def command_argv(record: TaskRecord, folder: Path) -> list[str]:
    """The command line of a command objective, its placeholders filled. Raises `ObjectiveLoadError`."""
    spec = record.spec
    values: dict[str, object] = {bare(name): value for name, value in spec.parameters.items()}
    values.update(task_id=record.id, trial=record.trial)
    try:
        argv = fill(spec.objective["argv"], values, conditional=[bare(name) for name in spec.optional])
    except BadInput as error:
        raise ObjectiveLoadError(f"objective command: {error}") from error
    program = argv[0]
    if os.sep in program:
        path = folder / program
        if not path.is_file():
            raise ObjectiveLoadError(f"objective command: no such program on this machine: {path}")
        if not os.access(path, os.X_OK):
            raise ObjectiveLoadError(f"objective command: {path} is not executable (chmod +x)")
        return [str(path), *argv[1:]]
    if shutil.which(program) is None:
        raise ObjectiveLoadError(f"objective command: {program!r} is not on this machine's PATH")
    return argv


def start_fresh(
    argv: list[str],
    objective: Mapping[str, Any],
    folder: Path,
    socket_path: str,
    *,
    scratch: Path,
    seed: int,
    own_code: bool = False,
    cgroup: str = "",
) -> Program:
    """Start a script or a command.

    Args:
        scratch: for its temporary files.
        seed: of its task.
        own_code: the folder is first on its import path.
        cgroup: that it enters, see `worker.process.cgroups.enter`; or empty.

    Raises:
        ObjectiveLoadError: the system refuses to run it.
    """
    is_command = objective["kind"] == "command"
    extra = {"TMPDIR": str(scratch), **objective.get("env", {}), SOCKET_VARIABLE: socket_path}
    extra[SEED_VARIABLE] = str(seed)
    environment = program_environment(extra)
    if own_code:
        path = environment.get("PYTHONPATH")
        environment["PYTHONPATH"] = f"{folder}{os.pathsep}{path}" if path else str(folder)
    try:
        return Program(
            argv, env=environment, folder=folder, split_output=is_command, channel=False, cgroup=cgroup
        )
    except (OSError, ValueError) as error:
        why = error.strerror if isinstance(error, OSError) else error
        raise ObjectiveLoadError(f"objective {argv[0]}: can't be started: {why or error}") from error
