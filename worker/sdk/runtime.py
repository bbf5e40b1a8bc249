"""Which task this process runs, and how a script or a command's child finds its slot."""

from __future__ import annotations

import atexit
import os
import signal
import socket
import threading
from collections.abc import Callable
from typing import Any

from worker.process.channel import SOCKET_VARIABLE, Endpoint
from worker.sdk.session import ChannelSession

_current: Any = None

supervised = False
"""This process is a runner: it was started by a slot."""


_for_logger: Callable[[], Any] | None = None
"""Gives the task that `Logger.current_logger` reports to; `worker.sdk.task` sets it."""


def under_worker() -> bool:
    """Whether a slot has started this program."""
    return supervised or bool(os.environ.get(SOCKET_VARIABLE))


def current() -> Any:
    """The `Task` of this process, or None."""
    return _current


def enter(task: Any) -> None:
    """Make `task` this process' task."""
    global _current
    _current = task


def leave(task: Any) -> None:
    """This process runs `task` no longer."""
    global _current
    if _current is task:
        _current = None


def serve_loggers(find: Callable[[], Any]) -> None:
    """Have `current_or_unlisted` give what `find` finds."""
    global _for_logger
    _for_logger = find


def current_or_unlisted() -> Any:
    """The `Task` of this program; where it has none, one whose reports stay in this process."""
    assert _for_logger is not None, "worker.sdk.task is imported with every Logger"
    return _for_logger()


def connect() -> tuple[dict[str, Any], ChannelSession] | None:
    """Reach the slot that started this program, if one did.

    Returns:
        The task's description and the session to report through.
    """
    path = os.environ.get(SOCKET_VARIABLE)
    if not path:
        return None
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        sock.connect(path)
    except OSError:
        # The slot that started this program has ended; it is standalone now.
        sock.close()
        return None
    endpoint = Endpoint(sock)
    endpoint.send({"op": "hello", "pid": os.getpid()})
    session = ChannelSession(endpoint)
    description: dict[str, Any] = {}
    while not description:
        messages = endpoint.receive()
        if messages is None:
            return None
        for message in messages:
            if message.get("op") == "task":
                description = message["task"]
            else:
                session.handle(message)

    def read() -> None:
        while (messages := endpoint.receive()) is not None:
            for message in messages:
                session.handle(message)

    threading.Thread(target=read, name="optuna-rq-reader", daemon=True).start()
    _stop_on_sigterm(session)
    atexit.register(session.flush)
    return description, session


def _stop_on_sigterm(session: ChannelSession) -> None:
    """Turn SIGTERM into `TaskStopped`, so that ``finally`` blocks run. A program's own handler stays."""
    if threading.current_thread() is not threading.main_thread():
        return
    if signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL:
        return

    def handler(signum: int, frame: Any) -> None:
        raise session.stop or SystemExit(128 + signum)

    signal.signal(signal.SIGTERM, handler)
