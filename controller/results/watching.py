"""Watching a study in Redis: a frame at each look, and what has changed since the last one.

A look costs a few round trips; it reads the tasks that are new, open or have just ended, never all.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from controller.results.foreseen import foreseen
from controller.results.live import (
    MOST_RUNNING,
    BestKept,
    EndedTrial,
    Frame,
    RunningTrial,
    ended_trial,
    objective_values,
    running_trial,
)
from controller.results.status import elapsed_s, remaining_s
from worker.protocol import OPEN, Status, Store, StudyRecord, StudyState, TaskRecord, keys
from worker.protocol.host import pause_left

AT_ONCE = 500
"""Tasks read in one round trip."""
WORKERS_EVERY_S = 2.0
"""Between two looks at the workers, in seconds."""


@dataclass(frozen=True, kw_only=True)
class Look:
    """One look at a study."""

    record: StudyRecord
    frame: Frame
    launched: Sequence[TaskRecord] = ()
    """Tasks that are new since the last look, by trial; none at the first."""
    started: Sequence[TaskRecord] = ()
    """Tasks that have begun an attempt since; at the first look, those that run."""
    ended: Sequence[EndedTrial] = ()
    """Tasks that have ended since, by trial; none at the first look."""


@dataclass(frozen=True, kw_only=True)
class _Seen:
    """What one round trip finds of a study."""

    acts: bool
    counts: dict[Status, int]
    open: dict[str, Status]
    """Tasks that have not ended, by trial."""
    new: dict[str, int]
    """Tasks → their trials, from the first that was not seen yet."""


class Watching:
    """Looks at one study again and again. For one thread.

    Args:
        store: it may be away at any time: a look raises what Redis raises, and the next goes on.
    """

    def __init__(self, store: Store, study: str) -> None:
        self._store = store
        self.study = study
        self._created_at: float | None = None
        self._best = BestKept(())
        self._open: dict[str, Status] = {}
        self._attempts: dict[str, int] = {}
        """Tasks that were seen to run → their attempts."""
        self._next_trial = 0
        self._workers = (0, 0, 0)
        self._look_at_workers = 0.0

    def look(self) -> Look:
        """The study now.

        Raises:
            BadInput: it is gone.
            redis.RedisError: Redis can't be used.
        """
        store = self._store
        record = store.studies.get(self.study)
        # A study of this name that was made since, or one that was rewound, is looked at for the first time.
        is_first = record.created_at != self._created_at or self._next_trial > store.studies.next_trial(
            self.study
        )
        if is_first:
            # Of what has ended before, only the best counts.
            self._next_trial = store.studies.next_trial(self.study)
            self._best, self._open, self._attempts = BestKept.of_study(store, record), {}, {}
        seen = self._see()
        gone = [task_id for task_id in self._open if task_id not in seen.open]
        fresh = list(seen.new)
        passed = [task_id for task_id in fresh if task_id not in seen.open]
        over = self._read([*gone, *passed])
        shown = self._own([task_id for task_id, s in seen.open.items() if s is Status.IN_PROGRESS])
        running = self._read(shown)
        begun = [task_id for task_id, s in seen.open.items() if s is Status.IN_PROGRESS]
        begun = [one for one in begun if self._open.get(one) is not Status.IN_PROGRESS and one not in shown]
        ended = [self._ended(record, *found) for found in over if found[0].status.is_finished]
        # One that was handed back between two questions has not ended.
        still = {found[0].id: found[0].status for found in over if not found[0].status.is_finished}
        launched = [] if is_first else self._launched(fresh, [*over, *running])
        started = self._started([found[0] for found in (*over, *running, *self._read(begun))])
        # Only now: a look that a lost connection cut short finds the same once more.
        self._created_at = record.created_at
        self._open = {**seen.open, **still}
        self._next_trial = max([self._next_trial, *(trial + 1 for trial in seen.new.values())])
        self._attempts = {task_id: n for task_id, n in self._attempts.items() if task_id in self._open}
        return Look(
            record=record,
            frame=self._frame(record, seen, running),
            launched=launched,
            started=started,
            ended=sorted(ended, key=lambda one: one.trial),
        )

    def _see(self) -> _Seen:
        name = self.study
        with self._store.redis.pipeline(transaction=False) as pipe:
            pipe.exists(keys.study_lock(name))
            for status in Status:
                pipe.zcard(keys.study_status(name, status))
            for status in OPEN:
                pipe.zrange(keys.study_status(name, status), 0, -1)
            # Last: what is new and not open by now has ended.
            pipe.zrangebyscore(keys.study_tasks(name), self._next_trial, "+inf", withscores=True)
            acts, *found = pipe.execute()
        numbers, found = found[: len(Status)], found[len(Status) :]
        listed = {task_id: status for status, ids in zip(OPEN, found[:-1], strict=True) for task_id in ids}
        return _Seen(
            acts=bool(acts),
            counts=dict(zip(Status, numbers, strict=True)),
            open=listed,
            new={task_id: int(trial) for task_id, trial in found[-1]},
        )

    def _own(self, task_ids: Sequence[str]) -> list[str]:
        """Those to show, of tasks that workers have listed."""
        return self._store.studies.own(self.study, task_ids[: 2 * MOST_RUNNING])[:MOST_RUNNING]

    def _read(self, task_ids: Sequence[str]) -> list[tuple[TaskRecord, dict[str, Any]]]:
        """Records and scalars of the study's own tasks among these, by parts."""
        found = []
        for start in range(0, len(task_ids), AT_ONCE):
            own = self._store.studies.own(self.study, task_ids[start : start + AT_ONCE])
            found += [
                (record, scalars) for record, scalars, _ in self._store.tasks.look(own) if record is not None
            ]
        return found

    def _ended(self, study: StudyRecord, record: TaskRecord, scalars: dict[str, Any]) -> EndedTrial:
        values = objective_values(study.metrics, scalars)
        ended = ended_trial(record, values)
        self._best.add(record, values, scalars, ended.parameters)
        return ended

    def _launched(
        self, fresh: Sequence[str], known: Sequence[tuple[TaskRecord, dict[str, Any]]]
    ) -> list[TaskRecord]:
        """The records of the new tasks."""
        by_id = {record.id: record for record, _ in known}
        missing = [task_id for task_id in fresh if task_id not in by_id]
        by_id.update({record.id: record for record, _ in self._read(missing)})
        return [by_id[task_id] for task_id in fresh if task_id in by_id]

    def _started(self, records: Sequence[TaskRecord]) -> list[TaskRecord]:
        """Those that have begun an attempt that was not seen yet."""
        found = []
        for record in records:
            if record.started_at is not None and self._attempts.get(record.id) != record.attempt:
                self._attempts[record.id] = record.attempt
                found.append(record)
        return found

    def _frame(
        self, record: StudyRecord, seen: _Seen, running: Sequence[tuple[TaskRecord, dict[str, Any]]]
    ) -> Frame:
        now = self._store.clock.now()
        state, reason = record.state, record.reason
        if state in (StudyState.RUNNING, StudyState.PAUSED) and not seen.acts:
            state, reason = StudyState.INTERRUPTED, "its controller is gone"
        elapsed = elapsed_s(record, now)
        ended = state in (StudyState.COMPLETED, StudyState.STOPPED, StudyState.FAILED)
        workers, slots, paused = self._count_workers(record.queue, now)
        seen_end = foreseen(record.forecast, now) if state == StudyState.RUNNING else None
        remains = seen_end.left_s[1] if seen_end else remaining_s(record.budget, seen.counts, elapsed)
        return Frame(
            study=record.name,
            state=state,
            reason=reason,
            counts=seen.counts,
            elapsed_s=round(elapsed, 1),
            remaining_s=0.0 if ended else remains,
            left=seen_end.text if seen_end else "",
            budget=record.budget,
            best=self._best.shown(),
            running=[_running(record, one, scalars, now) for one, scalars in running],
            workers=workers,
            slots=slots,
            paused=paused,
        )

    def _count_workers(self, queue: str, now: float) -> tuple[int, int, int]:
        """Workers of a queue, their slots, and how many of them are paused."""
        moment = self._store.clock.monotonic()
        if moment >= self._look_at_workers:
            found = self._store.workers.list(queue)
            slots = sum(int(each.get("slots", 0)) for each in found)
            self._workers = (len(found), slots, sum(1 for each in found if pause_left(each, now)))
            self._look_at_workers = moment + WORKERS_EVERY_S
        return self._workers


def _running(study: StudyRecord, record: TaskRecord, scalars: dict[str, Any], now: float) -> RunningTrial:
    ran = max(0.0, now - record.started_at) if record.started_at is not None else 0.0
    return running_trial(record, study.metrics, scalars, record.compute_s + ran)
