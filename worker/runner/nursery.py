"""The process that trials are forked from: it has imported the libraries that they use, and nothing else."""

from __future__ import annotations

import contextlib
import gc
import mmap
import os
import select
import signal
import sys
import traceback
from collections.abc import Callable
from dataclasses import dataclass, field, replace

from worker.process.channel import Endpoint, Message
from worker.process.parent_death import die_with_parent
from worker.runner import preload
from worker.runner.ending import end
from worker.runner.execution import ORDERS, Runner, fault_in
from worker.runner.libraries import Before, Learner, Lesson, Notebook, Preloading, Unsafe, prepare
from worker.sdk.forking import deaf

AGAIN = 75
"""Exit code of a nursery in which a library doesn't survive a fork: another one leaves that out."""


class Trials:
    """Forks a process for each trial, and tells the slot of its end.

    Args:
        endpoint: to the slot.
        notebook: where trials write what they import.
    """

    def __init__(self, endpoint: Endpoint, notebook: Notebook) -> None:
        self._endpoint = endpoint
        self._notebook = notebook
        self._interrupt = signal.getsignal(signal.SIGINT)
        self._before = Before()
        self._taken = mmap.mmap(-1, mmap.PAGESIZE)
        """Shared with the process that was forked last: its first byte says whether it has taken an order."""
        prepare()

    def next_order(self) -> list[Message]:
        """The next messages, an order first; empty once the slot has closed the channel."""
        while (messages := self._endpoint.receive()) is not None:
            # What comes without an order was meant for a child that has ended.
            while messages and messages[0].get("op") not in ORDERS:
                del messages[0]
            if messages:
                return messages
        return []

    def begin(self, messages: list[Message], imported: Callable[[], object] = lambda: None) -> int | None:
        """Fork a process that takes `messages`.

        Args:
            imported: called there once the objective is imported.

        Returns:
            Its id; None where the system refuses it, which the slot is told.
        """
        try:
            return self._fork(messages, imported)
        except OSError as error:
            about = {"reason": f"no process: {error}", **fault_in(error, starting=True)}
            self._endpoint.send({"op": "result", "kind": "error", **about})
            return None

    def begin_next(self) -> int | None:
        """Fork a process that takes the next order: it is there, and all but ready, when that comes.

        Where the system refuses it, or the last one was killed while it waited, the order is awaited first.

        Returns:
            As `begin`; also None once the slot has closed the channel.
        """
        if self._taken[0]:
            with contextlib.suppress(OSError):
                return self._fork([])
        messages = self.next_order()
        return self.begin(messages) if messages else None

    def over(self) -> bool:
        """Whether the slot has closed the channel."""
        return self._endpoint.hung_up()

    def _fork(self, messages: list[Message], imported: Callable[[], object] = lambda: None) -> int:
        with contextlib.suppress(Exception):
            sys.stdout.flush()
            sys.stderr.flush()
        if not self._before.is_now():
            self._before = Before()
        self._taken[0] = 0
        gc.freeze()  # or the child's first collection would copy all that was imported
        parent = os.getpid()
        pid = os.fork()
        if pid:
            return pid
        status, ending = 1, False
        try:
            os.setsid()
            die_with_parent(parent)
            signal.signal(signal.SIGTERM, deaf)
            signal.signal(signal.SIGINT, self._interrupt)
            runner = Runner(self._endpoint, Learner(self._notebook, self._before), imported)
            order = runner.first(messages)
            if order is not None:
                self._taken[0] = 1
                ending = order["op"] == "run"
                status = runner.serve(order)
        except BaseException:
            traceback.print_exc()
        finally:
            if not ending:
                os._exit(status)  # no trial has run: the user's code has nothing to end
            end(status, self._before)
        raise AssertionError("unreachable")

    def await_end(self, pid: int | None) -> None:
        """Wait for the end of a process that was begun, and tell of it."""
        if pid is None:
            return
        _, ended = os.waitpid(pid, 0)
        code = os.waitstatus_to_exitcode(ended)
        # It may have been killed in the middle of a line.
        self._endpoint.end_line()
        self._endpoint.send({"op": "exited", "pid": pid, "code": code})


@dataclass
class Known:
    """What trials were seen to import."""

    lesson: Lesson = field(default_factory=Lesson)
    left_out: set[str] = field(default_factory=set)
    """Packages that don't survive a fork."""

    def add(self, lesson: Lesson) -> None:
        """Add what another trial has imported."""
        known = set(self.lesson.names)
        self.lesson.names += [name for name in lesson.names if name not in known]
        self.lesson.variables.update(lesson.variables)
        self.left_out.update([lesson.unsafe] if lesson.unsafe else [])


class Nursery:
    """Imports and forks, in a process of its own, until the slot closes the channel.

    Args:
        known: to begin with; what this process learns, it leaves in `diary`.
        imported: can be read once the first trial, which another process runs, has imported its objective.
        turn: can be read once it is this process that takes orders.
    """

    def __init__(
        self, trials: Trials, notebook: Notebook, diary: Notebook, known: Known, imported: int, turn: int
    ) -> None:
        self._trials = trials
        self._notebook = notebook
        self._diary = diary
        self._known = known
        self._imported, self._turn = imported, turn
        sockets = preload.sockets()
        self._preloading = Preloading(lambda: preload.why_not(sockets), known.left_out)

    def run(self) -> int:
        """Returns the process' exit code."""
        try:
            self._preloading.load(self._known.lesson)
            if self._imported in select.select([self._imported, self._turn], [], [])[0]:
                self._learn(self._notebook.read())  # and left there: that trial still writes
            if not os.read(self._turn, 1):
                return 0
            self._learn(self._notebook.take())
            while not self._trials.over():
                self._trials.await_end(self._trials.begin_next())
                self._learn(self._notebook.take())
        except Unsafe as unsafe:
            self._diary.write(replace(self._known.lesson, unsafe=unsafe.name))
            return AGAIN
        return 0

    def _learn(self, lesson: Lesson | None) -> None:
        if lesson is not None:
            self._known.add(lesson)
            self._preloading.load(self._known.lesson)
