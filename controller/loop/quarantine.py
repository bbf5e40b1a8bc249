"""Quarantine of bad nodes: workers on which every job fails, at once and in the same way.

Such a worker is free again at once and takes the next job, and so on, until the budget is used up. It is told
to take no more for a while. Where every worker fails so, it is the objective's fault, and none is. As long as
nothing is known of the others, it is held for some seconds at a time.
"""

from __future__ import annotations

import json
import re
from collections import deque
from collections.abc import Callable, Collection
from dataclasses import dataclass

from controller.loop.fleet import Fleet
from controller.loop.job import Job
from controller.loop.observer import Observer
from controller.loop.state import LoopState
from worker.protocol import Clock, Reason, Status, Store, TaskRecord
from worker.protocol.study_log import LogKind

FAILURES = 3
"""Different configurations that have to fail in a row."""
FAST_S = 60.0
"""What counts as at once: seconds that the attempt has computed."""
FIRST_PAUSE_S = 60.0
LONGEST_PAUSE_S = 1800.0
HOLD_S = 5.0
"""How long a worker is held while nothing is known of the others; what another runs longer counts for it."""
_CLASSES = (Reason.OBJECTIVE_ERROR, Reason.LAUNCH_ERROR, Reason.OUT_OF_MEMORY)


@dataclass(frozen=True, kw_only=True)
class Pause:
    """A worker is to take no jobs for a while."""

    worker: str
    seconds: float
    reason: str
    known: bool = True
    """Others do better; False while that has yet to be seen."""


@dataclass(frozen=True)
class _Outcome:
    signature: str
    """What it failed with, without what differs from trial to trial; empty when it did not fail at once."""
    parameters: str
    reason: str


class NodeQuarantine:
    """Remembers the last outcomes of each worker of one study. Used by the loop's thread only.

    Args:
        first_pause_s: of a worker's first pause, in seconds; doubled each time.
    """

    def __init__(self, first_pause_s: float = FIRST_PAUSE_S) -> None:
        self._first_pause_s = first_pause_s
        self._last: dict[str, deque[_Outcome]] = {}
        self._pauses: dict[str, int] = {}
        self._held: set[str] = set()

    def ended(
        self,
        record: TaskRecord,
        alive: Collection[str],
        lasting: Callable[[], Collection[str]] = lambda: (),
    ) -> Pause | None:
        """Take note of how a task has ended.

        Args:
            alive: names of the workers that serve its queue.
            lasting: gives those that have been running a task for `HOLD_S`; asked when it matters only.

        Returns:
            A pause, if the task's worker is to take one now, or one of which more is known by this.
        """
        worker = record.worker.rpartition("/")[0]
        if not worker or record.started_at is None:
            return None
        if record.reason_class is not None and record.reason_class.is_machine_fault:
            return None  # the worker itself takes no jobs until that is gone
        for gone in [name for name in self._last if name not in alive and name != worker]:
            del self._last[gone]
            self._pauses.pop(gone, None)
        outcomes = self._last.setdefault(worker, deque(maxlen=FAILURES))
        outcomes.append(_outcome(record))
        if not outcomes[-1].signature:
            self._pauses.pop(worker, None)
        pause = self._judge(worker, alive, lasting)
        if pause is None:
            # Now that something is known of this one, another may be.
            known = (self._judge(held, alive, lasting) for held in sorted(self._held & set(alive) - {worker}))
            pause = next((found for found in known if found and found.known), None)
        return pause

    def _judge(
        self, worker: str, alive: Collection[str], lasting: Callable[[], Collection[str]]
    ) -> Pause | None:
        self._held.discard(worker)
        outcomes = self._last.get(worker)
        signature = outcomes[-1].signature if outcomes else ""
        if not outcomes or not signature:
            return None
        same = [outcome for outcome in outcomes if outcome.signature == signature]
        if len(same) < FAILURES or len({outcome.parameters for outcome in same}) < FAILURES:
            return None
        others = [name for name in alive if name != worker]
        reason = f"{FAILURES} different configurations failed here at once: {outcomes[-1].reason}"
        if any(self._does_better(name, signature) for name in others) or set(others).intersection(lasting()):
            count = self._pauses[worker] = self._pauses.get(worker, 0) + 1
            seconds = min(LONGEST_PAUSE_S, self._first_pause_s * 2 ** (count - 1))
            return Pause(worker=worker, seconds=seconds, reason=reason)
        if all(name in self._last for name in others):
            return None
        self._held.add(worker)
        return Pause(worker=worker, seconds=HOLD_S, reason=reason, known=False)

    def _does_better(self, worker: str, signature: str) -> bool:
        """Whether the last that a worker has ended did not fail in the same way."""
        outcomes = self._last.get(worker)
        return outcomes is not None and outcomes[-1].signature != signature


def _outcome(record: TaskRecord) -> _Outcome:
    chosen = {name: record.spec.parameters.get(name) for name in record.spec.searched}
    parameters = json.dumps(chosen or record.spec.parameters, sort_keys=True, default=str)
    taken = (record.ended_at or 0.0) - (record.started_at or 0.0)
    if record.status is not Status.FAILED or record.reason_class not in _CLASSES or taken > FAST_S:
        return _Outcome("", parameters, "")
    first = (record.reason.splitlines() or [""])[0]
    # Numbers, paths and quoted values are a trial's own.
    kept = re.sub(r"'[^']*'|\"[^\"]*\"|/\S+|0x[0-9a-f]+|[-+]?\d[\d.e+-]*", "…", first)
    return _Outcome(f"{record.reason_class}: {kept}", parameters, f"{record.reason_class}: {first[:200]}")


class NodePauses:
    """Has a worker pause on which every job fails at once. Used by the loop's thread only."""

    def __init__(
        self, store: Store, clock: Clock, state: LoopState, fleet: Fleet, observer: Observer
    ) -> None:
        self._store = store
        self._clock = clock
        self._state = state
        self._fleet = fleet
        self._observer = observer
        self._quarantine = NodeQuarantine()

    def look_at(self, job: Job) -> None:
        """Judge the worker of a job that has ended."""
        pause = self._quarantine.ended(job.record, self._fleet.workers, self._lasting)
        if pause is None:
            return
        self._store.workers.pause(pause.worker, self._clock.now() + pause.seconds, pause.reason)
        if pause.known:
            self._observer.remark(
                LogKind.QUARANTINE,
                f"worker {pause.worker} takes no jobs for {pause.seconds:g} s: {pause.reason}",
            )

    def _lasting(self) -> set[str]:
        """Names of the workers that have been running a job for `HOLD_S`."""
        return {
            job.record.worker.rpartition("/")[0]
            for job in self._state.running.values()
            if job.is_running() and job.computed_s() > HOLD_S
        }
