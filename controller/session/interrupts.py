"""How `controller start` is told to end, and what it waits for before a study begins."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Protocol, TypeVar

from worker.protocol.errors import RedisAway, ServerAway

T = TypeVar("T")

WAIT_S = 3.0
"""Between two tries to reach a server, in seconds."""


class Interruptible(Protocol):
    """A search that can be told to end, as `SearchStrategy`."""

    def interrupt(self) -> None:
        """End; the study is to be continued."""

    def hand_over(self) -> None:
        """End, and leave what runs to the next controller."""


class Interrupts:
    """Ctrl-C and SIGTERM: the first ends the study in order, the second at once.

    Args:
        hand_over: a first SIGTERM leaves what runs to the next controller instead.
    """

    def __init__(self, *, hand_over: bool = False) -> None:
        self.count = 0
        self.looked_at: Callable[[], None] = lambda: None
        """Is called whenever somebody who waits asks whether to go on."""
        self._hand_over = hand_over
        self._signal = 0
        self._strategy: Interruptible | None = None

    def __call__(self, signum: int, frame: FrameType | None) -> None:
        self.count += 1
        if self.count > 1:
            raise KeyboardInterrupt
        self._signal = signum
        self._tell()

    @property
    def handed_over(self) -> bool:
        """Whether what runs is left to the next controller."""
        return self._hand_over and self._signal == signal.SIGTERM

    def pass_on_to(self, strategy: Interruptible) -> None:
        """Tell the search from here on, of what has come already, too."""
        self._strategy = strategy
        if self.pending():
            self._tell()

    def _tell(self) -> None:
        if self._strategy and self.handed_over:
            self._strategy.hand_over()
        elif self._strategy:
            self._strategy.interrupt()

    def pending(self) -> bool:
        self.looked_at()
        return self.count > 0

    @contextmanager
    def installed(self) -> Iterator[Interrupts]:
        previous = {s: signal.signal(s, self) for s in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield self
        finally:
            for signum, handler in previous.items():
                signal.signal(signum, handler)


class ServerWait:
    """Has a server that can't be reached when a study is to begin waited for, where that was asked for.

    Args:
        note: told once of each new reason to wait.
        interrupts: end the waiting.
    """

    def __init__(self, wait: bool, note: Callable[[str], None], interrupts: Interrupts) -> None:
        self._wait = wait
        self._note = note
        self._interrupts = interrupts

    def have(self, call: Callable[[], T]) -> T:
        """What a call returns once the server that it needs can be reached.

        Raises:
            KeyboardInterrupt: it was interrupted meanwhile.
            RedisAway, ServerAway: waiting was not asked for.
        """
        told = ""
        while True:
            try:
                return call()
            except (RedisAway, ServerAway) as error:
                if not self._wait:
                    raise
                if str(error) != told:
                    told = str(error)
                    self._note(f"{told}; trying again")
            again_at = time.monotonic() + WAIT_S
            while time.monotonic() < again_at:
                if self._interrupts.pending():
                    raise KeyboardInterrupt
                time.sleep(0.1)
