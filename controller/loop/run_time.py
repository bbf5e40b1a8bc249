"""How long a task's attempt has run, whatever the clocks of its host and of this one say."""

from __future__ import annotations

from worker.protocol import Clock, Status, TaskRecord


class RunTime:
    """Measures the current attempt by the monotonic clock, from when it was first seen to run.

    What it had run before that is the difference of two stamps, and no more than has passed since its launch,
    if that was here.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._launched_at: float | None = None
        self._attempt = 0
        """The attempt that is measured; 0 for none."""
        self._since = 0.0

    def launched(self, at: float) -> None:
        """The task was launched, by the monotonic clock."""
        self._launched_at = at

    def see(self, record: TaskRecord) -> None:
        """Take note of a fresher record."""
        if record.status is not Status.IN_PROGRESS:
            self._attempt = 0
        elif record.attempt != self._attempt and record.started_at is not None:
            now = self._clock.monotonic()
            ran = max(0.0, self._clock.now() - record.started_at)
            if self._launched_at is not None:
                ran = min(ran, now - self._launched_at)
            self._attempt, self._since = record.attempt, now - ran

    def seconds(self) -> float:
        """Seconds that the attempt has run; 0 while none is seen to."""
        return self._clock.monotonic() - self._since if self._attempt else 0.0
