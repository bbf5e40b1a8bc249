"""The slot's runner: the program that runs function objectives, each trial in a process of its own."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from worker.process.channel import Lines, Message
from worker.process.process_tree import children, kill_tree, lives, orphans, signal_group
from worker.runner.execution import IDLE
from worker.slot.programs import Program, program_environment

_RUNNER = "import sys; sys.path[:] = [p for p in sys.path if p]; from worker.runner.main import main; main()"
"""Starts the runner without the current folder on its path, where a user's worker.py may lie."""

REUSE_LIMIT = 1000
"""A process that is reused is replaced after so many trials, unless the objective says otherwise."""
MAX_GROWTH_KB = 1 << 20
"""A process that is reused is replaced when it has grown by so much since its first trial, in KiB."""


class RunnerProgram(Program):
    """A runner: a process below which children run trials. They come and go; it and the channel stay."""

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
        self.reuses = bool(objective.get("reuse"))
        """A child stays for the next trials; otherwise each ends with its trial."""

    @property
    def ends_by_itself(self) -> bool:
        return not self.reuses and self._child is not None

    @property
    def runs_as(self) -> int:
        return self._child or self.pid

    def hear(self, message: Message) -> None:
        """Take ``hello`` and ``exited``."""
        if message.get("op") == "hello":
            self._child, self._child_ended = int(message["pid"]), None
        elif message.get("op") == "exited" and message.get("pid") == self._child:
            self._child_ended = int(message["code"])
            if self._child_ended == IDLE:
                self._child = self._child_ended = None  # between two trials

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
        return self._process.poll() is None and (self._child is None or lives(self._child))

    def start_over(self, keep: frozenset[int] = frozenset()) -> bool:
        """End the child and what it has left, so that the next order gets a new one.

        Returns:
            False where the whole has to be replaced.
        """
        if self._child is None or self._process.poll() is not None:
            return False
        if self._child_ended is None or orphans(keep | {self.pid}):
            self.kill(keep)
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
        while self._child is not None and self._child_ended is None:
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


class SlotRunner:
    """The runner of one slot, for one function objective at a time."""

    def __init__(self) -> None:
        self._program: RunnerProgram | None = None
        self._for: tuple[Any, ...] = ()
        self._files: dict[str, int] = {}
        self._trials = 0
        self._first_rss = 0
        self._limit = REUSE_LIMIT

    def get(self, objective: Mapping[str, Any], folder: Path) -> RunnerProgram:
        """A runner for this objective: the one that there is, where it still fits, else a new one."""
        environment = tuple(sorted(objective.get("env", {}).items()))
        reuse = (bool(objective.get("reuse")), int(objective.get("reuse_limit") or REUSE_LIMIT))
        wanted = (objective["kind"], objective["target"], str(folder), environment, reuse)
        self._limit = reuse[1]
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

    def after(self, result: Message | None, keep: frozenset[int] = frozenset()) -> None:
        """A trial has ended: end its process and what that has left, unless it is kept for the next ones.

        Args:
            result: what it sent, or None when it was killed or died.
            keep: this process' children that are not the runner's.
        """
        if self._program is None:
            return
        if not self._program.reuses:
            self._replace(keep)
            return
        self._trials += 1
        rss = int((result or {}).get("rss", 0))
        self._first_rss = self._first_rss or rss
        self._files = (result or {}).get("files", self._files)
        healthy = (
            result is not None
            and result.get("kind") in ("ok", "stopped")
            and not result.get("dirty")
            and self._trials < self._limit
            and rss - self._first_rss < MAX_GROWTH_KB
            and not children(self._program.runs_as)
            # Nor orphans that have become this process': they would live on.
            and not orphans(keep | {self._program.pid})
        )
        if not healthy:
            self._replace(keep)

    def _replace(self, keep: frozenset[int] = frozenset()) -> None:
        """End what has run trials. What was imported beforehand stays."""
        if self._program and self._program.start_over(keep):
            self._trials = self._first_rss = 0
        else:
            self.discard()

    def discard(self) -> None:
        """End the runner and everything it has started."""
        if self._program:
            self._program.kill_all()
            self._program.close()
            self._program = None
