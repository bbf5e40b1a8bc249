"""Starts our commands by a fork of a process that has imported them already: a start costs no imports.

What a test sees is a `Popen` like any other: the child is this process' own (it is cloned with CLONE_PARENT), has its
own session, folder, environment, streams and command line, and ends as Python ends. Tests of starting itself, of what a
process imports and of signals at start ask for real ones with ``@pytest.mark.real_start``.
"""

from __future__ import annotations

import array
import atexit
import ctypes
import gc
import json
import os
import platform
import socket
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

from tests import forked, optuna_schema

COMMANDS = ("controller", "worker")

_CLONE_PARENT, _SIGCHLD = 0x8000, 17
_CLONE = {"x86_64": 56, "aarch64": 220}.get(platform.machine())
_MOST_BYTES = 1 << 20

available = sys.platform == "linux" and _CLONE is not None
"""Whether this system can do it; elsewhere every start is a real one."""
enabled = True
"""Set to False while a test wants real starts."""


class Forked(subprocess.Popen[Any]):
    """A command that the fork server starts."""

    def _execute_child(self, args: Any, *rest: Any) -> None:
        # (executable, preexec_fn, close_fds, pass_fds, cwd, env, startupinfo, creationflags, shell,
        #  p2cread, p2cwrite, c2pread, c2pwrite, errread, errwrite, restore_signals, …, start_new_session, …)
        cwd, env = rest[4], rest[5]
        p2cread, p2cwrite, c2pread, c2pwrite, errread, errwrite = rest[9:15]
        request = {
            "argv": [str(arg) for arg in args],
            "cwd": str(cwd or os.getcwd()),
            "env": dict(os.environ if env is None else env),
            "streams": [p2cread, c2pwrite, errwrite],
            "session": bool(rest[20]),
        }
        self.pid = _server().start(request)
        self._child_created = True
        self._close_pipe_fds(p2cread, p2cwrite, c2pread, c2pwrite, errread, errwrite)  # type: ignore[attr-defined] # private


def popen(argv: list[str], **options: Any) -> subprocess.Popen[Any]:
    """As `subprocess.Popen`; one of our commands, or a Python script, is forked where that is possible and wanted."""
    is_ours = Path(argv[0]).name in COMMANDS or (argv[0] == sys.executable and argv[1].endswith(".py"))
    return Forked(argv, **options) if available and enabled and is_ours else subprocess.Popen(argv, **options)


class _Server:
    def __init__(self) -> None:
        self._socket, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._lock = threading.Lock()
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "tests.forkserver", str(theirs.fileno()), "-" * 4000],
                cwd=Path(__file__).parents[1],
                # No threads of a library's own: a clone has none, and would wait for them at its end.
                env={**os.environ, "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"},
                pass_fds=[theirs.fileno()],
                start_new_session=True,
            )

    def start(self, request: dict[str, Any]) -> int:
        """Have a command started; returns its process id."""
        streams = [0 if fd == -1 and number == 0 else fd for number, fd in enumerate(request.pop("streams"))]
        fds = array.array("i", [fd if fd != -1 else number for number, fd in enumerate(streams)])
        with self._lock:
            ancillary = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, fds)]
            self._socket.sendmsg([json.dumps(request).encode()], ancillary)
            answer = self._socket.recv(64)
        if not answer:
            raise RuntimeError("the fork server has ended")
        return int(answer)

    def stop(self) -> None:
        self._socket.close()
        self._process.wait(10)


_started: _Server | None = None
_owner = 0


def _server() -> _Server:
    """This process' server, started with the first command."""
    global _started, _owner
    if _started is None or _owner != os.getpid():
        _started, _owner = _Server(), os.getpid()
        atexit.register(_started.stop)
    return _started


# The server's side


def serve(connection: socket.socket) -> int:
    """Fork a child for each request, until the other side closes the connection. Returns the exit code."""
    import controller.commands.main
    import controller.commands.start
    import controller.health.metrics
    import worker.cli
    import worker.health.monitoring
    import worker.runner.check
    import worker.runner.main
    import worker.slot.slot
    import worker.trials.trial

    _warm_up()
    mains = {"controller": controller.commands.main.main, "worker": worker.cli.main}
    library = ctypes.PyDLL(None)  # keeps the GIL, as a fork does
    gc.collect()
    gc.freeze()
    while True:
        data, ancillary, _, _ = connection.recvmsg(
            _MOST_BYTES, socket.CMSG_SPACE(3 * array.array("i").itemsize)
        )
        if not data:
            return 0
        streams = array.array("i")
        for _, _, fds in ancillary:
            streams.frombytes(fds)
        ctypes.pythonapi.PyOS_BeforeFork()
        pid = library.syscall(_CLONE, _CLONE_PARENT | _SIGCHLD, 0, 0, 0, 0)
        if pid == 0:
            ctypes.pythonapi.PyOS_AfterFork_Child()
            _run(json.loads(data), list(streams), mains)
        ctypes.pythonapi.PyOS_AfterFork_Parent()
        for fd in streams:
            os.close(fd)
        connection.send(str(pid).encode())


def _warm_up() -> None:
    """What Optuna and SQLAlchemy do once per process, at the first storage that is opened."""
    import optuna

    optuna_schema.read_once()
    storage = optuna.storages.RDBStorage("sqlite://")
    optuna.create_study(storage=storage)
    storage.remove_session()
    storage.engine.dispose()


def _run(request: dict[str, Any], streams: list[int], mains: dict[str, Any]) -> None:
    """Be the command, or the script."""
    forked.begin(
        streams=streams,
        folder=request["cwd"],
        environment=request["env"],
        session=request["session"],
    )
    forked.show_command_line(request["argv"])
    program, *arguments = request["argv"]
    if program == sys.executable:
        sys.argv[:] = arguments
        forked.end(forked.run_script, arguments[0])
    sys.argv[:] = [program, *arguments]
    forked.end(forked.run_command, program, mains[Path(program).name])


if __name__ == "__main__":
    sys.exit(serve(socket.socket(fileno=int(sys.argv[1]))))
