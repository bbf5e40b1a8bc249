"""All studies at a glance: what the page's first table shows, in a few round trips whatever their size."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from controller.results.foreseen import foreseen
from controller.results.ranking import Ranking
from controller.results.status import ENDED, elapsed_s, remaining_s
from worker.protocol import Status, Store, StudyRecord, StudyState, keys
from worker.protocol.errors import RecordError

COURSE_POINTS = 60
"""Values of a course that are kept."""
COURSE_OF = 20_000
"""Trials of a study whose course is read; of a larger one, it is not."""
_BUDGETS = {
    "jobs": "trials", "iterations": "iterations", "compute_time": "compute time", "wall_clock": "wall clock",
}  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Used:
    """How much of one budget is used."""

    kind: str
    used: float
    limit: float
    is_time: bool
    """In minutes."""

    @property
    def share(self) -> float:
        return 1.0 if self.limit <= 0 else min(1.0, self.used / self.limit)


@dataclass(frozen=True, kw_only=True)
class StudyLine:
    """One study in the table of all."""

    name: str
    state: str
    reason: str
    created_at: float
    elapsed_s: float
    """How long it has run."""
    remaining_s: float | None
    """How long it goes on, as foreseen, else at this rate; None if nobody knows."""
    objectives: tuple[str, ...]
    """As ``minimize loss``."""
    best: float | None
    """The best value of the first objective among results that stand; None without any."""
    best_task: str
    tasks: Mapping[Status, int]
    budgets: tuple[Used, ...]
    per_hour: float | None
    """Trials that ended in an hour; None while none has."""
    course: tuple[float, ...] = ()
    """The best value of the first objective after each of at most `COURSE_POINTS` trials."""

    @property
    def trials(self) -> int:
        return sum(self.tasks.values())


@dataclass(frozen=True, kw_only=True)
class Unreadable:
    """A study whose record can't be read."""

    name: str
    problem: str


def overview(store: Store, names: Sequence[str]) -> list[StudyLine | Unreadable]:
    """Studies by name, those that are there, in this order; without their courses."""
    now = store.clock.now()
    with store.redis.pipeline(transaction=False) as pipe:
        for name in names:
            pipe.hgetall(keys.study(name))
            pipe.exists(keys.study_lock(name))
            for status in Status:
                pipe.zcard(keys.study_status(name, status))
        answers = pipe.execute()
    each = 2 + len(Status)
    found: list[StudyLine | Unreadable] = []
    for place, name in enumerate(names):
        data, acts, *counts = answers[place * each : (place + 1) * each]
        if not data:
            continue
        try:
            record = StudyRecord.decode(data)
            found.append(_line(store, record, bool(acts), dict(zip(Status, counts, strict=True)), now))
        except RecordError as error:
            found.append(Unreadable(name=name, problem=str(error)))
    return found


def course(store: Store, record_name: str, maximizes: bool) -> tuple[float, ...]:
    """The best value of a study's first objective after each trial, thinned out to `COURSE_POINTS`.

    It costs two answers as long as the study has trials; a study of more than `COURSE_OF` has none.
    """
    with store.redis.pipeline(transaction=False) as pipe:
        pipe.zcard(keys.study_tasks(record_name))
        pipe.zcard(keys.rank(record_name))
        if max(pipe.execute()) > COURSE_OF:
            return ()
        pipe.zrange(keys.study_tasks(record_name), 0, -1)
        pipe.zrange(keys.rank(record_name), 0, -1, withscores=True)
        ids, ranked = pipe.execute()
    scores = {task_id: float(score) for task_id, score in ranked}
    best: list[float] = []
    for task_id in ids:
        score = scores.get(task_id)
        if score is not None:
            best.append(score if not best else min(score, best[-1]))
    values = [-score if maximizes else score for score in _thinned(best)]
    return tuple(values)


def _thinned(values: Sequence[float]) -> list[float]:
    if len(values) <= COURSE_POINTS:
        return list(values)
    last = len(values) - 1
    return [values[round(place * last / (COURSE_POINTS - 1))] for place in range(COURSE_POINTS)]


def _line(store: Store, record: StudyRecord, acts: bool, counts: dict[Status, int], now: float) -> StudyLine:
    state = record.state
    if state in (StudyState.RUNNING, StudyState.PAUSED) and not acts:
        state = StudyState.INTERRUPTED
    elapsed = elapsed_s(record, now)
    seen = foreseen(record.forecast, now) if state == StudyState.RUNNING else None
    remains = seen.left_s[1] if seen else remaining_s(record.budget, counts, elapsed)
    ended = sum(count for status, count in counts.items() if status.is_finished)
    best = _best(store, record)
    return StudyLine(
        name=record.name,
        state=state,
        reason=record.reason if state == record.state else "its controller is gone",
        created_at=record.created_at,
        elapsed_s=elapsed,
        remaining_s=0.0 if state in ENDED else remains,
        objectives=tuple(
            f"{'maximize' if metric.sign.maximizes else 'minimize'} {metric.key}" for metric in record.metrics
        ),
        best=None if best is None else best[1],
        best_task="" if best is None else best[0],
        tasks=counts,
        budgets=tuple(_used(record.budget)),
        per_hour=ended * 3600 / elapsed if ended and elapsed > 0 else None,
    )


def _best(store: Store, record: StudyRecord) -> tuple[str, float] | None:
    """Id and value of the best task by the first objective whose result stands."""
    if not record.metrics:
        return None
    first = record.metrics[0]
    found = Ranking(store, record.name, record.metrics[:1]).finished_first(1)
    if not found.records or found.standing == 0:
        return None
    task_id = found.records[0].id
    summary = store.reports.scalars([task_id])[0].get(first.key)
    return None if summary is None else (task_id, summary.value(first.sign))


def _used(budget: Mapping[str, Any]) -> list[Used]:
    """The budgets that have a limit. Of trials and iterations, the latter decide."""
    found = []
    for kind, words in _BUDGETS.items():
        values = budget.get(kind)
        if not isinstance(values, Mapping):
            continue
        limit, used = values.get("limit"), values.get("used") or 0.0
        if not isinstance(limit, (int, float)) or not isinstance(used, (int, float)):
            continue
        found.append(Used(kind=words, used=used, limit=limit, is_time=values.get("unit") == "minutes"))
    if any(one.kind == "iterations" for one in found):
        found = [one for one in found if one.kind != "trials"]
    return found
