"""How a study stands, as JSON types: what `controller status` prints."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from controller.results.course import plateau
from controller.results.durations import spoken
from controller.results.foreseen import foreseen
from controller.results.limits import number_of
from controller.results.top import find_top
from worker.protocol import Status, Store, StudyRecord, StudyState
from worker.protocol.clock import iso
from worker.protocol.gpu_status import GpuStatus, unpack
from worker.protocol.host import DRAIN, busy_slots, held, pause_left, slot_faults

ENDED = (StudyState.COMPLETED, StudyState.STOPPED, StudyState.FAILED)
"""States in which no worker is needed."""


def describe_study(store: Store, name: str) -> dict[str, Any]:
    """State, times, counts, budgets, best tasks and workers of a study.

    ``elapsed_s`` is how long it has run, ``remaining_s`` how long it goes on, as its controller foresees it
    (``forecast``, with an 80 % interval), else at this rate, None where that can't be told; ``best`` has the
    best task, with several objectives the first five of the Pareto front.
    """
    record = store.studies.get(name)
    acts = store.studies.has_controller(name)
    state = _state(record, acts=acts)
    now = store.clock.now()
    counts = store.studies.status_counts(name)
    elapsed = elapsed_s(record, now)
    best = find_top(store, record, 1 if len(record.metrics) == 1 else 5)
    registrations = store.workers.list(record.queue)
    idle = _why_idle(record, state, counts)
    seen = foreseen(record.forecast, now) if state == StudyState.RUNNING else None
    remains = round(seen.left_s[1], 1) if seen else remaining_s(record.budget, counts, elapsed)
    return {
        "study": record.name,
        "state": state,
        "reason": record.reason if state == record.state else "its controller is gone",
        "created_at": iso(record.created_at),
        "ended_at": iso(record.ended_at),
        "elapsed_s": round(elapsed, 1),
        "remaining_s": remains if state not in ENDED else 0.0,
        "forecast": None if seen is None else seen.as_dict(),
        "forecast_text": None if seen is None else seen.words(),
        "left": [] if state in ENDED else _left(record),
        "plateau": None if state in ENDED else plateau(record),
        "objectives": [
            f"{'maximize' if metric.sign.maximizes else 'minimize'} {metric.key}" for metric in record.metrics
        ],
        "best": [row for row in best.details if row["rank"] is not None and not row.get("front")],
        "queue": record.queue,
        "storage": record.storage,
        "artifacts": record.artifacts,
        "controller": record.controller if acts else "",
        "tasks": {status.value: count for status, count in counts.items()},
        "budget": record.budget,
        "workers": [worker_status(registration, now, idle) for registration in registrations],
    }


def worker_status(registration: Mapping[str, str], now: float, idle: str) -> dict[str, Any]:
    """A worker by its registration.

    Args:
        idle: why a worker of this study that takes jobs has none.
    """
    slots, busy = int(registration.get("slots", 0)), busy_slots(registration)
    left = pause_left(registration, now)
    state = registration.get("state", "")
    reason = ""
    if hold := held(registration):
        state, reason = _held(registration, hold, busy)
    elif left:
        state, reason = f"paused for {spoken(left)}", registration.get("paused", "")
    elif state == "draining":
        reason = "it was asked to end" + (", when what it runs has ended" if busy else "")
    elif ailing := slot_faults(registration, now):
        reason = "; ".join(
            f"slot {number} takes no jobs: {advice}" for number, advice in sorted(ailing.items())
        )
    elif busy < slots:
        state = "idle" if not busy else state
        refused = registration.get("refused", "")
        reason = f"it has refused a job: {refused}" if refused else idle
        if busy and reason:
            reason = f"{slots - busy} of {slots} slots idle: {reason}"
    return {
        "worker": registration["name"],
        "host": registration.get("host", ""),
        "slots": slots,
        "busy": busy,
        "state": state,
        "reason": reason,
        "queues": registration.get("queues", ""),
        "gpus": [asdict(gpu) for gpu in unpack(registration.get("gpus", ""))],
    }


def _held(registration: Mapping[str, str], hold: str, busy: int) -> tuple[str, str]:
    """State and reason of a worker that a person has paused or drained.

    Args:
        busy: how many of its slots run something.
    """
    state = "draining" if hold == DRAIN else "paused"
    by = f"by {registration.get('hold_by') or 'somebody'}"
    then = " · it ends when what it runs has ended" if hold == DRAIN and busy else ""
    why = registration.get("hold_reason", "")
    return state, by + (f": {why}" if why else "") + then


def worker_rows(workers: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The workers for people: their GPUs in words, and only where some have any."""
    rows = [{**row, "gpus": " · ".join(str(GpuStatus(**gpu)) for gpu in row["gpus"])} for row in workers]
    if not any(row["gpus"] for row in rows):
        rows = [{name: value for name, value in row.items() if name != "gpus"} for row in rows]
    return rows


def why_idle(store: Store, record: StudyRecord) -> str:
    """Why a worker that takes jobs may have none of a study that has not ended."""
    state = _state(record, acts=store.studies.has_controller(record.name))
    return _why_idle(record, state, store.studies.status_counts(record.name))


def _state(record: StudyRecord, *, acts: bool) -> str:
    """The state of a study: interrupted where its controller has gone without a word."""
    if record.state in (StudyState.RUNNING, StudyState.PAUSED) and not acts:
        return StudyState.INTERRUPTED
    return record.state


def _why_idle(record: StudyRecord, state: str, counts: Mapping[Status, int]) -> str:
    """Why a worker that takes jobs may have none."""
    if state in ENDED:
        return f"the study is {state}"
    if state == StudyState.INTERRUPTED:
        return "no controller acts on the study"
    if counts[Status.QUEUED]:
        return "a job waits on the queue"
    if state == StudyState.PAUSED:
        return record.reason or "the study is paused; `controller resume` goes on"
    running = counts[Status.IN_PROGRESS]
    most = number_of(record.budget, "concurrent", "limit")
    if most is not None and running >= most:
        return f"max_concurrent: {running} of {most:g} trials run"
    jobs, used = number_of(record.budget, "jobs", "limit"), number_of(record.budget, "jobs", "used")
    if jobs is not None and used is not None and used >= jobs:
        return f"all {jobs:g} trials are launched"
    iterations = [
        number_of(record.budget, "iterations", field) or 0 for field in ("used", "reserved", "limit")
    ]
    if running and 0 < iterations[2] <= iterations[0] + iterations[1]:
        return "the running trials may need what is left of the iterations"
    return "no job waits: the controller asks for the next trial"


def elapsed_s(record: StudyRecord, now: float) -> float:
    """Seconds that the study has run, without the times between an interruption and the next start."""
    used = number_of(record.budget, "wall_clock", "used")
    return used * 60 if used else max(0.0, (record.ended_at or now) - record.created_at)


def remaining_s(budget: Mapping[str, Any], counts: Mapping[Status, int], elapsed: float) -> float | None:
    """Seconds until the budget is used up, if the study goes on as it did until now; None if nobody knows.

    Args:
        budget: as in the study's record.
        counts: tasks by status.
        elapsed: seconds that the study has run.
    """
    ended = sum(counts[status] for status in Status if status.is_finished)
    estimates = []
    for kind in ("jobs", "iterations", "compute_time"):
        limit, used = number_of(budget, kind, "limit"), number_of(budget, kind, "used") or 0.0
        if kind == "jobs" and number_of(budget, "iterations", "limit") is not None:
            continue  # of these two, the iterations decide
        done = used - counts[Status.IN_PROGRESS] - counts[Status.QUEUED] if kind == "jobs" else used
        if limit is not None and done > 0 and ended and elapsed > 0:
            estimates.append(max(0.0, limit - done) * elapsed / done)
    wall_clock = number_of(budget, "wall_clock", "limit")
    if wall_clock is not None:
        used = number_of(budget, "wall_clock", "used") or 0.0
        estimates.append(max(0.0, wall_clock - used) * 60)
    return round(min(estimates), 1) if estimates else None


def _left(record: StudyRecord) -> list[str]:
    """What is left of each budget that has a limit, in words."""
    found = []
    for kind, words in (
        ("jobs", "trials"),
        ("iterations", "iterations"),
        ("compute_time", "of compute time"),
        ("wall_clock", "of wall clock"),
    ):
        limit, used = number_of(record.budget, kind, "limit"), number_of(record.budget, kind, "used") or 0.0
        if limit is None or (kind == "jobs" and number_of(record.budget, "iterations", "limit") is not None):
            continue
        left = max(0.0, limit - used)
        if kind in ("jobs", "iterations"):
            found.append(f"{left:g} of {limit:g} {words}")
        else:
            found.append(f"{spoken(left * 60)} of {spoken(limit * 60)} {words}")
    return found


def budget_rows(budget: Mapping[str, Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The budget for people: times as they are said, no row that says nothing."""
    rows = []
    for name, values in budget.items():
        if values.get("limit") is None and not values.get("used"):
            continue
        is_time = values.get("unit") == "minutes"
        row = {"budget": name.replace("_", " ")}
        for field in ("used", "reserved", "limit"):
            value = values.get(field)
            if value is None or (field == "reserved" and not value):
                row[field] = ""
            else:
                row[field] = spoken(value * 60) if is_time else f"{value:g}"
        if name == "jobs" and number_of(budget, "iterations", "limit") is not None:
            row["limit"] = "by iterations"  # those that were stopped early buy others
        rows.append(row)
    if not any(row["reserved"] for row in rows):
        rows = [{name: value for name, value in row.items() if name != "reserved"} for row in rows]
    return rows


def best_lines(report: Mapping[str, Any]) -> list[str]:
    """The best of a study in words, and the advice to end it where the best is old."""
    name = "best" if report["state"] in ENDED else "best so far"
    advice = [report["plateau"]["advice"]] if report["plateau"] else []
    return [f"{name}: {text}" for text in values_of(report["best"])] + advice


def values_of(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """Each of these best tasks in a line: values, trial, task."""
    return [
        ", ".join(f"{key} {metric['value']:.6g}" for key, metric in row["metrics"].items())
        + f" (trial {row['trial']}, task {row['task_id'][:8]})"
        for row in rows
    ]
