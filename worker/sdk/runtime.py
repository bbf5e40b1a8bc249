"""Which task this process runs, and how a script or a command's child finds its slot."""

from __future__ import annotations

import atexit
import importlib
import os
import signal
import sys
import threading
from collections.abc import Callable
from typing import Any

from worker.process.channel import SOCKET_VARIABLE, Endpoint
from worker.sdk import forking
from worker.sdk.joined_session import JoinedSession
from worker.sdk.members import Members, connect_to
from worker.sdk.session import ChannelSession, Session

JOIN_VARIABLE = "OPTUNA_RQ_JOIN"
"""Environment variable with the process id of the program that runs a task, and where its children report."""

HANDSHAKE_S = 30.0
"""How long a process waits for the description of its task, in seconds."""

_members: Members | None = None
"""Hears the children of this process, where that is not the slot's business."""

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
        _close_to_children()
        _current = None


def serve_loggers(find: Callable[[], Any]) -> None:
    """Have `current_or_unlisted` give what `find` finds."""
    global _for_logger
    _for_logger = find


def current_or_unlisted() -> Any:
    """The `Task` of this program; where it has none, one whose reports stay in this process."""
    if _for_logger is None:
        # A process that was given no more than a pickled function that reports.
        importlib.import_module("worker.sdk.task")
    assert _for_logger is not None, "importing Task serves the loggers"
    return _for_logger()


# A program's children


def open_to_children(session: Session, describe: Callable[[], dict[str, Any]]) -> Members:
    """Have the children of this process take part in the task of `session`; see `Members`."""
    members = _members if _members is not None else make_members(listens=True)
    members.serve(session, describe)
    os.environ[JOIN_VARIABLE] = invitation(members.address)
    return members


def make_members(*, listens: bool) -> Members:
    """What hears the children of this process, see `Members`; made once."""
    global _members
    if _members is None:
        _members = Members(listens=listens)
    return _members


def _close_to_children() -> None:
    """The task is over: children of this process are programs of their own from now on."""
    global _members
    if _members is None:
        return
    if os.environ.get(JOIN_VARIABLE) == invitation(_members.address):
        del os.environ[JOIN_VARIABLE]
    if supervised:
        _members.rest()  # until the next trial
    else:
        _members.close()
        _members = None


def invitation(address: str) -> str:
    """The value of `JOIN_VARIABLE` for children of this process."""
    return f"{os.getpid()}:{address}"


def _invited_by() -> str | None:
    """The address of the program that this process is a child of, if that has a task."""
    pid, _, address = os.environ.get(JOIN_VARIABLE, "").partition(":")
    return address if address and pid != str(os.getpid()) else None


def _after_fork() -> None:
    """In a forked process: what it reports goes through a connection of its own."""
    global _members
    if _members is not None:
        _members.forget()
        _members = None
    session = getattr(_current, "session", None)
    if session is None:
        return
    address = _invited_by()
    if address is None:
        return

    def connect() -> ChannelSession | None:
        found = _reach(address, at_once=True)
        return found[1] if found else None

    _current.session = JoinedSession(connect, session)


os.register_at_fork(after_in_child=_after_fork)
forking.keep_sigterm()


# A program's own way to its task


def connect() -> tuple[dict[str, Any], ChannelSession] | None:
    """Reach the slot that started this program, or the program that this process is a child of.

    Returns:
        The task's description and the session to report through; None for a program by itself.
    """
    address = _invited_by()
    found = _reach(address, at_once=True) if address else None
    if found is None and (path := os.environ.get(SOCKET_VARIABLE)):
        found = _reach(path, at_once=False)
        if found is not None:
            os.environ[JOIN_VARIABLE] = invitation(path)
            atexit.register(found[1].flush)
    if found is not None and not _is_made_by_multiprocessing():
        _stop_on_sigterm(found[1])
    return found


def _is_made_by_multiprocessing() -> bool:
    """Whether it is a child that its parent ends by SIGTERM as a matter of course."""
    multiprocessing = sys.modules.get("multiprocessing.process")
    # A spawned one that still imports its program has no parent yet, but a name.
    return multiprocessing is not None and (
        multiprocessing.parent_process() is not None
        or multiprocessing.current_process().name != "MainProcess"
    )


def _reach(address: str, *, at_once: bool) -> tuple[dict[str, Any], ChannelSession] | None:
    sock = connect_to(address, HANDSHAKE_S)
    if sock is None:
        return None  # who listened there has ended
    endpoint = Endpoint(sock)
    endpoint.send({"op": "hello", "pid": os.getpid()})
    session = ChannelSession(endpoint, at_once=at_once)
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
    sock.settimeout(None)

    def read() -> None:
        while (messages := endpoint.receive()) is not None:
            for message in messages:
                session.handle(message)

    threading.Thread(target=read, name="optuna-rq-reader", daemon=True).start()
    return description, session


def stop_here(own: int, stop: Callable[[], BaseException | None], signum: int) -> BaseException:
    """What a handler of SIGTERM is to raise.

    In a process that was forked from the one that has set the handler, a signal without a stop request ends
    the process as it would end any other: so does a pool with its processes.

    Args:
        own: id of the process that has set the handler.
        stop: gives the stop request there.
    """
    if os.getpid() == own:
        return stop() or SystemExit(128 + signum)
    asked = getattr(getattr(_current, "session", None), "stop", None)
    if asked is None:
        signal.signal(signum, signal.SIG_DFL)
        os.kill(os.getpid(), signum)
    return asked or SystemExit(128 + signum)


def _stop_on_sigterm(session: ChannelSession) -> None:
    """Turn SIGTERM into `TaskStopped`, so that ``finally`` blocks run. A program's own handler stays."""
    if threading.current_thread() is not threading.main_thread():
        return
    if signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL:
        return
    own = os.getpid()

    def handler(signum: int, frame: Any) -> None:
        raise stop_here(own, lambda: session.stop, signum)

    signal.signal(signal.SIGTERM, forking.not_for_children(handler))
