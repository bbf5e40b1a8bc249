"""A forked process made to look like one that was started: for the fork server's commands, and for what they start.

A command of the fork server starts its own processes (local workers, slots, runners, checks of objectives) by a fork
as well, since all of them are Python with our modules. What users' code starts is started as ever.
"""

from __future__ import annotations

import atexit
import contextlib
import ctypes
import fcntl
import gc
import importlib
import io
import logging
import os
import re
import signal
import subprocess
import sys
import tempfile
import termios
import threading
import traceback
from collections.abc import Callable, Iterable
from pathlib import Path
from types import ModuleType
from typing import Any

BIN = Path(sys.executable).parent

_OURS = re.compile(
    r"import sys; sys\.path\[:\] = \[p for p in sys\.path if p\]; from (worker[\w.]*) import main; main\(\)"
)
"""The Python with which our processes start each other."""
_import_path = sys.path[1:]
"""Of a Python that was started with neither a script nor PYTHONPATH."""


class ForkingPopen(subprocess.Popen[Any]):
    """`subprocess.Popen` within a command: starts our own processes by a fork."""

    def _execute_child(self, args: Any, *rest: Any) -> None:
        found = _OURS.fullmatch(args[2]) if list(args)[:2] == [sys.executable, "-c"] else None
        if found is None:
            super()._execute_child(args, *rest)  # type: ignore[misc] # private
            return
        # (executable, preexec_fn, close_fds, pass_fds, cwd, env, startupinfo, creationflags, shell,
        #  p2cread, p2cwrite, c2pread, c2pwrite, errread, errwrite, restore_signals, …, start_new_session, …)
        pass_fds, cwd, env = rest[3:6]
        pipes = rest[9:15]
        streams = [pipes[0], pipes[3], pipes[5]]
        sys.stdout.flush()
        sys.stderr.flush()
        self.pid = os.fork()
        if self.pid == 0:
            begin(
                streams=[number if fd == -1 else fd for number, fd in enumerate(streams)],
                keep=pass_fds,
                folder=None if cwd is None else os.fspath(cwd),
                environment=None if env is None else dict(env),
                session=bool(rest[20]),
            )
            show_command_line(args)
            sys.argv[:] = ["-c", *args[3:]]
            end(_main_of, found[1])
        self._child_created = True
        self._close_pipe_fds(*pipes)  # type: ignore[attr-defined] # private


def begin(
    *,
    streams: list[int],
    keep: Iterable[int] = (),
    folder: str | None,
    environment: dict[str, str] | None,
    session: bool,
) -> None:
    """In a process that was just forked: drop what a started one would not have of its parent.

    Args:
        streams: descriptors that become standard input, output and error.
        keep: further descriptors that stay open.
        folder: to change to.
        environment: in place of the parent's.
        session: whether it leads a session of its own.
    """
    gc.collect()
    gc.freeze()  # what the parent holds is never ended here: its descriptors are closed below
    atexit._clear()
    logging.getLogger().handlers.clear()
    _reset_signals()
    if session:
        os.setsid()
    _take_descriptors(streams, keep)
    if session and os.isatty(0):
        fcntl.ioctl(0, termios.TIOCSCTTY, 0)  # its Ctrl-C is for this session
    if folder is not None:
        os.chdir(folder)
    if environment is not None:
        os.environ.clear()
        os.environ.update(environment)
    from_variable = [path for path in os.environ.get("PYTHONPATH", "").split(os.pathsep) if path]
    sys.path[:] = [*from_variable, *_import_path]
    _open_streams()
    tempfile.tempdir = None  # it was the parent's
    if numpy := sys.modules.get("numpy"):
        numpy.random.seed()
    subprocess.Popen = ForkingPopen  # type: ignore[misc] # in this process only


def show_command_line(argv: list[str]) -> None:
    """Have ``/proc/PID/cmdline`` show `argv`, cut off where this process' own was shorter."""
    fields = Path("/proc/self/stat").read_text().rpartition(")")[2].split()
    start, stop = int(fields[45]), int(fields[46])
    text = b"".join(os.fsencode(arg) + b"\0" for arg in argv)[: stop - start - 1]
    ctypes.memmove(start, text.ljust(stop - start, b"\0"), stop - start)


def end(main: Callable[..., Any], *arguments: Any) -> None:
    """Run `main`, and end the process as Python ends."""
    code, interrupted = 1, False
    try:
        try:
            main(*arguments)
            code = 0
        except SystemExit as error:
            code = _exit_code(error)
        except BaseException as error:
            interrupted = isinstance(error, KeyboardInterrupt)
            sys.excepthook(*sys.exc_info())
        threading._shutdown()  # type: ignore[attr-defined] # as Python's own end: threads first
        atexit._run_exitfuncs()
        for stream in (sys.stdout, sys.stderr):
            with contextlib.suppress(OSError, ValueError):
                stream.flush()
        if interrupted:
            signal.signal(signal.SIGINT, signal.SIG_DFL)
            os.kill(os.getpid(), signal.SIGINT)
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(code)


def run_script(path: str) -> None:
    """Run a file of Python as ``python FILE`` does."""
    module = _new_main(os.path.abspath(path))
    sys.path.insert(0, os.path.dirname(os.path.realpath(path)))
    exec(compile(Path(path).read_bytes(), os.path.abspath(path), "exec"), module.__dict__)


def run_command(program: str, main: Callable[[], Any]) -> None:
    """Run a command as the script does that pip makes of it."""
    _new_main(program)
    sys.path.insert(0, str(BIN))
    main()


def _new_main(path: str) -> ModuleType:
    module = ModuleType("__main__")
    module.__file__ = path
    sys.modules["__main__"] = module
    return module


def _main_of(module: str) -> None:
    importlib.import_module(module).main()


def _exit_code(error: SystemExit) -> int:
    if error.code is None or isinstance(error.code, int):
        return int(error.code or 0) & 0xFF
    print(error.code, file=sys.stderr)
    return 1


def _reset_signals() -> None:
    """Handlers of the parent's end with an exec; what is ignored stays so."""
    signal.set_wakeup_fd(-1)
    for number in signal.valid_signals():
        if callable(handler := signal.getsignal(number)) and not isinstance(handler, signal.Handlers):
            signal.signal(number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL)
    signal.signal(signal.SIGPIPE, signal.SIG_IGN)  # Python's own way


def _take_descriptors(streams: list[int], keep: Iterable[int]) -> None:
    kept = sorted({*keep})
    above = 1 + max([2, *kept])
    moved = [_duplicate(fd, above) for fd in streams]
    for number, fd in enumerate(moved):
        os.dup2(fd, number)
    first = 3
    for fd in kept:
        os.closerange(first, fd)
        os.set_inheritable(fd, True)
        first = fd + 1
    os.closerange(
        first, os.sysconf("SC_OPEN_MAX") if not Path("/proc/self/fd").exists() else _last_open() + 1
    )


def _duplicate(fd: int, above: int) -> int:
    import fcntl

    return fcntl.fcntl(fd, fcntl.F_DUPFD, above)


def _last_open() -> int:
    return max(int(name) for name in os.listdir("/proc/self/fd"))


def _open_streams() -> None:
    """Standard streams over the new descriptors, as Python opens them when it starts."""
    encoding, _, errors = os.environ.get("PYTHONIOENCODING", "").partition(":")
    for name, number, mode, kept in (
        ("stdin", 0, "r", "strict"),
        ("stdout", 1, "w", "strict"),
        ("stderr", 2, "w", "backslashreplace"),
    ):
        unbuffered = mode == "w" and bool(os.environ.get("PYTHONUNBUFFERED"))
        stream = io.TextIOWrapper(
            open(number, f"{mode}b", buffering=0 if unbuffered else -1, closefd=False),  # noqa: SIM115 - it stays open
            encoding=encoding or "utf-8",
            errors=errors or kept,
            line_buffering=number == 2 or os.isatty(number),
            write_through=unbuffered,
        )
        setattr(sys, name, stream)
        setattr(sys, f"__{name}__", stream)
