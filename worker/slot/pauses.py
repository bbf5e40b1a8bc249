"""Whether a worker takes jobs: a controller has it pause for a while, a person has it pause or drain."""

from __future__ import annotations

import contextlib
import logging
import time
from pathlib import Path

from worker.protocol.host import DRAIN
from worker.protocol.printable import one_line
from worker.protocol.store import Store
from worker.protocol.worker_registry import Order

log = logging.getLogger(__name__)


class Pauses:
    """Keeps the worker's slots from taking jobs, by a file that they look at. Used by the daemon's thread.

    What Redis has lost changes nothing: a pause goes on until its time is over, an order until the next one.

    Args:
        name: of the worker.
        pause_file: is there while no jobs are to be taken.
        drain_file: is there while slots that are to end may take all the time they need.
    """

    def __init__(self, store: Store, name: str, pause_file: Path, drain_file: Path) -> None:
        self._store = store
        self._name = name
        self._pause_file = pause_file
        self._drain_file = drain_file
        self._until = 0.0
        """End of the pause, as the controller wrote it; 0 for none."""
        self._resume_at = 0.0
        """The same by this machine's monotonic clock."""
        self.order = Order(hold="")
        """The last one of a person's."""

    @property
    def paused(self) -> bool:
        """Whether no jobs are taken now."""
        return bool(self._until or self.order.hold)

    @property
    def drains(self) -> bool:
        """Whether the worker ends when what it runs has ended."""
        return self.order.hold == DRAIN

    def hear(self, message: object) -> None:
        """Follow an order, if a message of the worker's channel is one."""
        order = Order.decode(message)
        if order is None or order == self.order:
            return
        self.order = order
        self._show()
        if not order.hold:
            log.info("worker %s: resumed", self._name)
            return
        why = f": {one_line(order.reason)}" if order.reason else ""
        then = ", and ends when what it runs has ended" if self.drains else ""
        log.warning("worker %s takes no new jobs%s%s", self._name, then, why)

    def look(self) -> None:
        """See whether a controller has the worker pause, by its registration.

        Raises:
            redis.RedisError: Redis is away.
        """
        until = self._store.workers.pause_of(self._name)
        if until is not None:
            self._pause_until(until)
        self._show()

    def fields(self) -> dict[str, str]:
        """What the worker's registration says of the order."""
        return {"hold": self.order.hold, "hold_reason": self.order.reason, "hold_by": self.order.by}

    def turn(self, now: float) -> None:
        """End a pause whose time is over.

        Args:
            now: monotonic time, in seconds.
        """
        if self._until and now >= self._resume_at:
            self._until = 0.0
            self._show()
            if not self.order.hold:
                log.info("worker %s takes jobs again", self._name)

    def stop_draining(self) -> None:
        """Slots that are to end have no more time than the worker's own settings give them."""
        self._drain_file.unlink(missing_ok=True)

    def _pause_until(self, until: float) -> None:
        if until == self._until:
            return
        left_s = until - self._store.clock.now()
        if left_s <= 0:
            self._resume_at = 0.0  # it was taken back
            return
        if not self._until:
            text = "worker %s takes no jobs for %.0f s: `controller status` says why"
            log.warning(text, self._name, left_s)
        self._until, self._resume_at = until, time.monotonic() + left_s

    def _show(self) -> None:
        for path, is_there in ((self._drain_file, self.drains), (self._pause_file, self.paused)):
            with contextlib.suppress(OSError):
                if is_there:
                    path.touch()
                else:
                    path.unlink(missing_ok=True)
