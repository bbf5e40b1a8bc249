"""The study's record in Redis, as the loop keeps it: state, reason, and what the budget has used."""

from __future__ import annotations

from dataclasses import replace

from controller.loop.budget import Budget
from controller.loop.state import LoopState
from worker.protocol import Clock, Store, StudyRecord


class StudyProgress:
    """Writes how a study does into its record. Used by the loop's thread only."""

    def __init__(self, store: Store, clock: Clock, state: LoopState, budget: Budget) -> None:
        self._store = store
        self._clock = clock
        self._state = state
        self._budget = budget
        self.record: StudyRecord | None = None
        """The record as last read or written; None for a search without one."""

    def load(self) -> None:
        """Read the record."""
        self.record = self._store.studies.find(self._state.study)

    def save(self, *, ended: bool = False) -> bool:
        """Write how the study does. False when its record is gone."""
        record = self._store.studies.find(self._state.study)
        if record is None:
            return False
        changed = replace(
            record,
            state=self._state.status,
            reason=self._state.reason,
            ended_at=self._clock.now() if ended else None,
            budget=self._budget.to_dict(),
            course=self._state.course.to_dict() if self._state.course is not None else record.course,
        )
        if changed != record:
            self._store.studies.save(changed)
        self.record = changed
        return True

    def restore(self) -> None:
        """Write the record again after Redis has lost it."""
        if self.record is not None:
            budget = self._budget.to_dict()
            self._store.studies.save(replace(self.record, budget=budget, state=self._state.status))
