"""Studies read again and again, for a page that stays open: what has ended is kept."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from controller.results.curves import Curve, read_curves
from controller.results.study_data import StudyData, TaskData, chosen, read_tasks
from worker.protocol import Store, StudyRecord, keys

MOST_STUDIES = 16
"""Studies that are kept, those asked for last."""
MOST_POINTS = 2_000_000
"""Points of curves that are kept of one study, some 50 MB."""
CHECKED = 1_000
"""Ended tasks that are looked at again in one reading: after a rewind, others come that have their ids."""


@dataclass
class _Kept:
    """What is known of one study. `lock` is held by the thread that changes it."""

    created_at: float = 0.0
    tasks: dict[str, TaskData] = field(default_factory=dict)
    curves: OrderedDict[str, Mapping[str, Curve]] = field(default_factory=OrderedDict)
    points: int = 0
    next_check: int = 0
    data: StudyData | None = None
    began: float = 0.0
    """When `data` began to be read, monotonic."""
    lock: threading.Lock = field(default_factory=threading.Lock)

    def forget(self, task_id: str) -> None:
        self.tasks.pop(task_id, None)
        gone = self.curves.pop(task_id, None)
        if gone is not None:
            self.points -= _size(gone)


class StudyReader:
    """Reads studies. Several threads may use it: those that ask at once share one reading.

    Args:
        monotonic: for tests.
    """

    def __init__(self, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._monotonic = monotonic
        self._studies: OrderedDict[str, _Kept] = OrderedDict()
        self._lock = threading.Lock()

    def read(self, store: Store, name: str) -> StudyData:
        """As `read_study`; tasks that have ended are read once.

        Their tags and notes may be older: no figure shows them.
        """
        asked = self._monotonic()
        kept = self._of(name)
        with kept.lock:
            if kept.data is not None and kept.began > asked:
                return kept.data
            kept.began = self._monotonic()
            study = store.studies.get(name)
            if study.created_at != kept.created_at:
                kept.tasks.clear()
                kept.curves.clear()
                kept.points, kept.created_at = 0, study.created_at
            kept.data = self._read(store, study, kept)
            return kept.data

    def _read(self, store: Store, study: StudyRecord, kept: _Kept) -> StudyData:
        ids = store.studies.tasks(study.name)
        wanted = chosen(store, study, ids)
        for task_id in kept.tasks.keys() - set(wanted):
            kept.forget(task_id)
        for task_id in _others_by_now(store, kept):
            kept.forget(task_id)
        fresh = read_tasks(store, study, [task_id for task_id in wanted if task_id not in kept.tasks])
        found = {**kept.tasks, **fresh}
        kept.tasks |= {task_id: task for task_id, task in fresh.items() if task.record.status.is_finished}
        tasks = tuple(found[task_id] for task_id in wanted if task_id in found)
        return StudyData(study=study, tasks=tasks, at=store.clock.now(), left_out=len(ids) - len(wanted))

    def with_curves(self, store: Store, data: StudyData, task_ids: Sequence[str]) -> StudyData:
        """A study with the learning curves of some of its tasks; those of ended tasks are read once."""
        kept = self._of(data.study.name)
        with kept.lock:
            found = {task_id: kept.curves[task_id] for task_id in task_ids if task_id in kept.curves}
            for task_id in found:
                kept.curves.move_to_end(task_id)
            fresh = read_curves(store, [task_id for task_id in task_ids if task_id not in found])
            for task_id, curves in fresh.items():
                # It had ended before its points were read: these are all.
                if task_id in kept.tasks:
                    kept.curves[task_id] = curves
                    kept.points += _size(curves)
            while kept.points > MOST_POINTS:
                kept.points -= _size(kept.curves.popitem(last=False)[1])
        return data.with_curves({**found, **fresh})

    def _of(self, name: str) -> _Kept:
        with self._lock:
            kept = self._studies.setdefault(name, _Kept())
            self._studies.move_to_end(name)
            while len(self._studies) > MOST_STUDIES:
                self._studies.popitem(last=False)
            return kept


def _size(curves: Mapping[str, Curve]) -> int:
    return sum(len(curve.values) for curve in curves.values())


def _others_by_now(store: Store, kept: _Kept) -> list[str]:
    """Of the next `CHECKED` tasks that are kept, those whose records are others by now, or gone."""
    ids = list(kept.tasks)
    if kept.next_check >= len(ids):
        kept.next_check = 0
    part = ids[kept.next_check : kept.next_check + CHECKED]
    kept.next_check += CHECKED
    with store.redis.pipeline(transaction=False) as pipe:
        for task_id in part:
            pipe.hget(keys.task(task_id), "ended_at")
        ended = pipe.execute(raise_on_error=False)
    return [
        task_id
        for task_id, text in zip(part, ended, strict=True)
        if not isinstance(text, str) or text != repr(kept.tasks[task_id].record.ended_at)
    ]
