"""The process that runs function objectives, each trial in a process of its own, away from its slot.

It is started with an open socket to the slot. The first trial runs in a fork that imports all it needs, and
tells what of that are libraries. Meanwhile a second fork, the nursery, imports those. The next trials are
forked from it: they find libraries imported, and import the user's modules themselves. A library that doesn't
survive a fork (`worker.runner.preload`) is left out: another nursery replaces the one that noticed. This
process itself imports nothing. It knows no Redis and holds no credentials of it.
"""

from __future__ import annotations

import os
import signal
import socket
import sys
import traceback

from worker.process.channel import Endpoint
from worker.process.parent_death import die_with_parent
from worker.runner.libraries import Notebook
from worker.runner.nursery import AGAIN, Known, Nursery, Trials
from worker.sdk import runtime


class Parent:
    """Has the first trial run, and then a nursery take the orders."""

    def __init__(self, endpoint: Endpoint) -> None:
        self._notebook, self._diary = Notebook(), Notebook()
        self._trials = Trials(endpoint, self._notebook)
        self._known = Known()

    def serve(self) -> int:
        """Until the slot closes the channel. Returns the process' exit code."""
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        messages = self._trials.next_order()
        if not messages:
            return 0
        imported, tell_imported = os.pipe()
        turn, give_turn = os.pipe()
        first = self._trials.begin(messages, lambda: os.write(tell_imported, b"."))
        nursery = self._nursery(imported, turn, (tell_imported, give_turn))
        os.close(tell_imported)
        self._trials.await_end(first)
        os.write(give_turn, b".")
        while (code := self._end_of(nursery)) == AGAIN:
            self._known.add(self._diary.read())
            # The turn is taken: it is this one's at once.
            os.write(give_turn, b".")
            nursery = self._nursery(imported, turn, (give_turn,))
        return code

    def _nursery(self, imported: int, turn: int, not_its: tuple[int, ...]) -> int:
        """Fork one; returns its process id.

        Args:
            not_its: descriptors that stay with this process.
        """
        parent = os.getpid()
        pid = os.fork()
        if pid:
            return pid
        code = 1
        try:
            die_with_parent(parent)
            for descriptor in not_its:
                os.close(descriptor)
            code = Nursery(self._trials, self._notebook, self._diary, self._known, imported, turn).run()
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(code)
        raise AssertionError("unreachable")

    def _end_of(self, nursery: int) -> int:
        """Wait for a nursery's end; its exit code. A signal that ended it ends this process, too."""
        _, ended = os.waitpid(nursery, 0)
        code = os.waitstatus_to_exitcode(ended)
        if code < 0:
            signal.signal(-code, signal.SIG_DFL) if -code != signal.SIGKILL else None
            os.kill(os.getpid(), -code)
        return code


def main() -> None:
    """``python -c … FD PARENT``: serve the slot at the other end of the socket FD."""
    descriptor, parent = int(sys.argv[1]), int(sys.argv[2])
    die_with_parent(parent)
    runtime.supervised = True
    sys.argv[:] = ["-c"]
    sys.exit(Parent(Endpoint(socket.socket(fileno=descriptor))).serve())
