"""Starts our commands by a fork of a process that has imported them already: a start costs no imports.

What a test sees is a `Popen` like any other: the child is this process' own (it is cloned with CLONE_PARENT), has its
own session, folder, environment and streams, and ends as Python ends. Only its command line is the server's: tests of
starting itself, of process titles and of signals at start ask for real ones with ``@pytest.mark.real_start``.
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

BIN = Path(sys.executable).parent
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
    """As `subprocess.Popen`; one of our commands is forked where that is possible and wanted."""
    if not (available and enabled) or Path(argv[0]).name not in COMMANDS:
        return subprocess.Popen(argv, **options)
    return Forked(argv, **options)


class _Server:
    def __init__(self) -> None:
        self._socket, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._lock = threading.Lock()
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "tests.forkserver", str(theirs.fileno())],
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
    """Fork a child for each request. Returns the exit code: in the server 0, in a child the command's."""
    import controller.commands.main
    import controller.commands.start
    import controller.health.metrics
    import worker.cli
    import worker.health.monitoring

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
            connection.close()
            return _run(json.loads(data), list(streams), mains)
        ctypes.pythonapi.PyOS_AfterFork_Parent()
        for fd in streams:
            os.close(fd)
        connection.send(str(pid).encode())


def _run(request: dict[str, Any], streams: list[int], mains: dict[str, Any]) -> int:
    """Be the command."""
    if request["session"]:
        os.setsid()
    for number, fd in enumerate(streams):
        os.dup2(fd, number)
    for fd in {*streams} - {0, 1, 2}:
        os.close(fd)
    os.chdir(request["cwd"])
    os.environ.clear()
    os.environ.update(request["env"])
    _open_streams()
    sys.argv[:] = request["argv"]
    sys.path[0] = str(BIN)
    try:
        mains[Path(sys.argv[0]).name]()
    except SystemExit as error:
        if error.code is None or isinstance(error.code, int):
            return int(error.code or 0)
        print(error.code, file=sys.stderr)
        return 1
    return 0


def _open_streams() -> None:
    """Standard streams over the new descriptors, as Python opens them when it starts."""
    encoding, _, errors = os.environ.get("PYTHONIOENCODING", "").partition(":")
    for name, number, mode, kept in (
        ("stdin", 0, "r", "strict"),
        ("stdout", 1, "w", "strict"),
        ("stderr", 2, "w", "backslashreplace"),
    ):
        stream = open(  # noqa: SIM115 - it stays open
            number,
            mode,
            buffering=1 if number == 2 or os.isatty(number) else -1,
            encoding=encoding or "utf-8",
            errors=errors or kept,
            closefd=False,
        )
        setattr(sys, name, stream)
        setattr(sys, f"__{name}__", stream)


if __name__ == "__main__":
    sys.exit(serve(socket.socket(fileno=int(sys.argv[1]))))
