"""Standalone programs: one that no worker runs becomes a task of its own, which ends with it."""

from __future__ import annotations

import atexit
import contextlib
import logging
import os
import signal
import socket
import sys
import threading
import traceback
from collections.abc import Iterator
from typing import Any, Protocol

from worker.protocol.errors import BadInput, TransitionRefused
from worker.protocol.faults import fault_of
from worker.protocol.record import TaskRecord, TaskSpec, new_task_id
from worker.protocol.status import Reason, Status
from worker.sdk import runtime
from worker.sdk.exceptions import TaskStopped
from worker.sdk.home import Home, home
from worker.sdk.program import name_of, this_program
from worker.sdk.session import LocalSession, Session, describe
from worker.sdk.standalone_session import LEASE_S, StandaloneSession

log = logging.getLogger(__name__)


Begun = tuple[dict[str, Any], Session, Home | None]
"""Description, session and Redis of this program's task."""


def begin(project: str, name: str | None, task_type: str, tags: tuple[str, ...], uri: str | None) -> Begun:
    """This program as a new task, which it runs itself from here on.

    Args:
        uri: artifact store; None for the default one.
    """
    try:
        at = home()
    except BadInput as error:
        if os.environ.get("REDIS_URL"):
            raise
        log.warning("%s; this task's reports stay in this process", error)
        description = {"id": new_task_id(), "name": name or "", "project": project, "by_hand": True}
        return {**description, "metrics": [], "artifacts": None, "tags": tags}, LocalSession(), None
    objective = this_program(at.folder)
    record = TaskRecord(
        id=new_task_id(),
        name=name or name_of(objective),
        project=project,
        spec=TaskSpec(
            objective=objective,
            artifacts=uri or at.artifacts_url,
            tags=tags,
            lease_s=LEASE_S,
            task_type=task_type,
        ),
        created_at=at.store.clock.now(),
    )
    at.store.tasks.create(record)
    host = socket.gethostname().split(".")[0] or "host"
    try:
        record = at.store.transitions.start(record.id, 1, f"{host}-{os.getpid()}/0")
    except TransitionRefused:
        # Somebody was faster and has stopped it; a program that is stopped later ends like this, too.
        sys.exit(f"task {record.id} stopped: {at.store.tasks.get(record.id).reason}")
    return {**describe(record), "by_hand": True}, StandaloneSession(at.store, record), at


class Following(Protocol):
    """A task that may still take in what TensorBoard writes."""

    @property
    def id(self) -> str: ...

    def finish_following(self) -> None: ...


def end_with_program(task: Following, session: Session) -> None:
    """Have a task that stands in Redis end with the program."""
    if isinstance(session, StandaloneSession):
        _end_with_program(task, session)


class Heard(Protocol):
    """A task that children of its program may report for."""

    about: dict[str, Any]
    session: Session | None

    def get_parameters(self, *, cast: bool) -> dict[str, Any]: ...


def hear_children(task: Heard) -> None:
    """Have children of this program report for its task, where that stands in Redis."""
    session = task.session
    if isinstance(session, StandaloneSession):

        def describe() -> dict[str, Any]:
            return {**task.about, "parameters": task.get_parameters(cast=True)}

        session.gather = runtime.open_to_children(session, describe).drain


def _end_with_program(task: Following, session: StandaloneSession) -> None:
    """Record how the program ends: by itself, by an exception that nobody catches, or by a signal."""
    pid = os.getpid()
    before = sys.excepthook

    def hook(kind: type[BaseException], error: BaseException, trace: Any) -> None:
        if os.getpid() == pid:
            with _quiet():
                _end_by(session, error, trace)
        if not isinstance(error, TaskStopped):
            before(kind, error, trace)
        else:
            print(f"task {task.id} stopped: {error.reason}", file=sys.stderr, flush=True)

    def at_end() -> None:
        if os.getpid() == pid:
            with _quiet():
                _wait_for_children()
                task.finish_following()
                if session.stop is not None:
                    session.end(Status.STOPPED, Reason.USER, session.stop.reason)
                session.end(Status.COMPLETED)

    sys.excepthook = hook
    atexit.register(at_end)
    if threading.current_thread() is threading.main_thread() and (
        signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
    ):

        def terminated(signum: int, frame: Any) -> None:
            asked = TaskStopped("user", "terminated by a signal")
            raise runtime.stop_here(pid, lambda: session.stop or asked, signum)

        signal.signal(signal.SIGTERM, terminated)


def _wait_for_children() -> None:
    """Wait for the processes that Python waits for at its end, so that what they report is the task's."""
    multiprocessing = sys.modules.get("multiprocessing")
    if multiprocessing is not None:
        for child in multiprocessing.active_children():
            if not child.daemon:
                child.join()


def _end_by(session: StandaloneSession, error: BaseException, trace: Any) -> None:
    if isinstance(error, TaskStopped):
        reason = (
            Reason(error.reason_class) if error.reason_class in {r.value for r in Reason} else Reason.USER
        )
        session.end(reason.status, reason, error.reason)
    elif isinstance(error, KeyboardInterrupt):
        session.end(Status.STOPPED, Reason.USER, "interrupted by hand")
    else:
        text = str(error).strip().splitlines()
        name = type(error).__name__
        fault = fault_of(error)
        reason_class = Reason.OUT_OF_MEMORY if isinstance(error, MemoryError) else Reason.OBJECTIVE_ERROR
        reason_class = fault.reason_class if fault else reason_class
        shown = "".join(traceback.format_exception(type(error), error, trace))
        session.end(
            Status.FAILED, reason_class, (f"{name}: {text[0]}" if text else name)[:500], shown[-20_000:]
        )


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Within, nothing that goes wrong disturbs the program's own end."""
    try:
        yield
    except Exception as error:
        log.warning("the task's end could not be recorded: %s", error)
