"""The processes that objectives run in: a warm runner for functions, a fresh process for the rest."""

from __future__ import annotations

import contextlib
import os
import select
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from worker.process.channel import SOCKET_VARIABLE, Lines, Message, encode
from worker.process.parent_death import die_with_parent
from worker.process.process_tree import children, kill_tree, lives, orphans, signal_group
from worker.protocol.command import fill
from worker.protocol.errors import BadInput, ObjectiveLoadError
from worker.protocol.record import TaskRecord
from worker.protocol.values import bare
from worker.runner.objective import check_script, script_path

_RUNNER = "import sys; sys.path[:] = [p for p in sys.path if p]; from worker.runner.main import main; main()"
"""Starts the runner without the current folder on its path, where a user's worker.py may lie."""

MAX_TRIALS = 1000
"""A runner is replaced after so many trials."""
MAX_GROWTH_KB = 1 << 20
"""A runner is replaced when it has grown by so much since its first trial, in KiB."""

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
        self, argv: list[str], *, env: Mapping[str, str], folder: Path, split_output: bool, channel: bool
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
                preexec_fn=None if channel else lambda: die_with_parent(parent),
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


class RunnerProgram(Program):
    """A runner: a process that imports, and where it can, a child of it that runs trials.

    The child comes and goes; its parent and the channel stay.
    """

    def __init__(self, objective: Mapping[str, Any], folder: Path) -> None:
        super().__init__(
            [sys.executable, "-c", _RUNNER],
            env=program_environment(objective.get("env", {})),
            folder=folder,
            split_output=False,
            channel=True,
        )
        self._child: int | None = None
        self._child_ended: int | None = None

    @property
    def runs_as(self) -> int:
        return self._child or self.pid

    def hear(self, message: Message) -> None:
        """Take ``hello`` and ``exited``."""
        if message.get("op") == "hello":
            self._child, self._child_ended = int(message["pid"]), None
        elif message.get("op") == "exited" and message.get("pid") == self._child:
            self._child_ended = int(message["code"])

    def poll(self) -> int | None:
        code = super().poll()
        return self._child_ended if code is None else code

    def terminate(self) -> None:
        signal_group(self.runs_as, signal.SIGTERM)

    def kill(self, keep: frozenset[int] = frozenset()) -> None:
        if self._child is None:
            super().kill(keep)
        else:
            kill_tree(self._child, keep=keep | {self.pid})

    def kill_all(self) -> None:
        """SIGKILL to the parent, too."""
        super().kill()

    def idles(self) -> bool:
        """Whether what ran the last trial still lives."""
        return self._process.poll() is None and lives(self.runs_as)

    def start_over(self) -> bool:
        """End the child, so that the next order gets a new one. False where the whole has to be replaced."""
        if self._child is None or self._process.poll() is not None:
            return False
        self.kill()
        if not self._hear_of_its_end():
            return False
        # What it has written since belongs to no trial any more.
        with contextlib.suppress(BlockingIOError):
            while os.read(self.stdout, 1 << 16):
                pass
        self._child = self._child_ended = None
        return True

    def _hear_of_its_end(self) -> bool:
        assert self.channel is not None
        lines, deadline = Lines(), time.monotonic() + 5.0
        while self._child_ended is None:
            left = deadline - time.monotonic()
            if left <= 0 or not select.select([self.channel], [], [], left)[0]:
                return False
            try:
                data = self.channel.recv(1 << 18)
            except OSError:
                data = b""
            if not data:
                return False
            for message in lines.feed(data):
                self.hear(message)
        return True


class WarmRunner:
    """The slot's runner for one function objective, replaced whenever its state can't be trusted."""

    def __init__(self) -> None:
        self._program: RunnerProgram | None = None
        self._for: tuple[Any, ...] = ()
        self._files: dict[str, int] = {}
        self._trials = 0
        self._first_rss = 0

    def get(self, objective: Mapping[str, Any], folder: Path) -> RunnerProgram:
        """A runner for this objective: the warm one where it still fits, else a new one."""
        environment = tuple(sorted(objective.get("env", {}).items()))
        wanted = (objective["kind"], objective["target"], str(folder), environment)
        if self._program and (self._for != wanted or self._changed()):
            self.discard()
        if self._program and not self._program.idles():
            self._replace()
        if self._program is None:
            self._program = RunnerProgram(objective, folder)
            self._for, self._files, self._trials, self._first_rss = wanted, {}, 0, 0
        return self._program

    @property
    def pid(self) -> int | None:
        return self._program.pid if self._program else None

    def _changed(self) -> bool:
        for path, stamp in self._files.items():
            try:
                if os.stat(path).st_mtime_ns != stamp:
                    return True
            except OSError:
                return True
        return False

    def after(self, result: Message | None) -> None:
        """Judge the runner by how a trial has ended: keep it warm, or replace it next time.

        Args:
            result: what it sent, or None when it was killed or died.
        """
        if self._program is None:
            return
        self._trials += 1
        rss = int((result or {}).get("rss", 0))
        self._first_rss = self._first_rss or rss
        self._files = (result or {}).get("files", self._files)
        healthy = (
            result is not None
            and result.get("kind") in ("ok", "stopped")
            and not result.get("dirty")
            and self._trials < MAX_TRIALS
            and rss - self._first_rss < MAX_GROWTH_KB
            and not children(self._program.runs_as)
            # Nor orphans that have become this process': they would live on.
            and not orphans(frozenset({self._program.pid}))
        )
        if not healthy:
            self._replace()

    def _replace(self) -> None:
        """End what has run trials. What it had imported stays, where that was done apart."""
        if self._program and self._program.start_over():
            self._trials = self._first_rss = 0
        else:
            self.discard()

    def discard(self) -> None:
        """End the runner and everything it has started."""
        if self._program:
            self._program.kill_all()
            self._program.close()
            self._program = None


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
    own_code: bool = False,
) -> Program:
    """Start a script or a command.

    Args:
        scratch: for its temporary files.
        own_code: the folder is first on its import path.

    Raises:
        ObjectiveLoadError: the system refuses to run it.
    """
    is_command = objective["kind"] == "command"
    extra = {"TMPDIR": str(scratch), **objective.get("env", {}), SOCKET_VARIABLE: socket_path}
    environment = program_environment(extra)
    if own_code:
        path = environment.get("PYTHONPATH")
        environment["PYTHONPATH"] = f"{folder}{os.pathsep}{path}" if path else str(folder)
    try:
        return Program(argv, env=environment, folder=folder, split_output=is_command, channel=False)
    except (OSError, ValueError) as error:
        why = error.strerror if isinstance(error, OSError) else error
        raise ObjectiveLoadError(f"objective {argv[0]}: can't be started: {why or error}") from error
