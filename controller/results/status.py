"""How a study stands, as JSON types: what `controller status` prints."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from worker.protocol import Store, StudyState, keys
from worker.protocol.clock import iso
from worker.protocol.host import busy_slots, pause_left, slot_faults


def describe_study(store: Store, name: str) -> dict[str, Any]:
    """State, counts, budgets and workers of a study."""
    record = store.studies.get(name)
    acts = bool(store.redis.exists(keys.study_lock(name)))
    state = record.state
    if state in (StudyState.RUNNING, StudyState.PAUSED) and not acts:
        state = StudyState.INTERRUPTED
    now = store.clock.now()
    workers = [
        {
            "worker": registration["name"],
            "host": registration.get("host", ""),
            "slots": int(registration.get("slots", 0)),
            "busy": busy_slots(registration),
            "state": _state(registration, now),
            "reason": _reason(registration, now),
            "queues": registration.get("queues", ""),
        }
        for registration in store.workers.list(record.queue)
    ]
    return {
        "study": record.name,
        "state": state,
        "reason": record.reason if state == record.state else "its controller is gone",
        "created_at": iso(record.created_at),
        "ended_at": iso(record.ended_at),
        "objectives": [
            f"{'maximize' if metric.sign.maximizes else 'minimize'} {metric.key}" for metric in record.metrics
        ],
        "queue": record.queue,
        "storage": record.storage,
        "artifacts": record.artifacts,
        "controller": record.controller if acts else "",
        "tasks": {status.value: count for status, count in store.studies.status_counts(name).items()},
        "budget": record.budget,
        "workers": workers,
    }


def _reason(registration: Mapping[str, str], now: float) -> str:
    """Why a worker, or some of its slots, take no jobs."""
    if pause_left(registration, now):
        return registration.get("paused", "")
    ailing = slot_faults(registration, now)
    return "; ".join(f"slot {number} takes no jobs: {advice}" for number, advice in sorted(ailing.items()))


def _state(registration: Mapping[str, str], now: float) -> str:
    left = pause_left(registration, now)
    return f"paused for {left:.0f} s" if left else registration.get("state", "")
