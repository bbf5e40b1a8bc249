"""Stand-ins that tests steer: a clock, and records with sensible defaults."""

from __future__ import annotations

from typing import Any

from worker.protocol import ObjectiveMetric, Sign, TaskRecord, TaskSpec, new_task_id

LOSS = ObjectiveMetric(title="loss", series="", sign=Sign.MIN)
ACCURACY = ObjectiveMetric(title="accuracy", series="validation", sign=Sign.MAX)


class ManualClock:
    """A clock that moves when told."""

    def __init__(self, now: float = 1_000_000.0) -> None:
        self.time = now

    def now(self) -> float:
        return self.time

    def monotonic(self) -> float:
        return self.time

    def sleep(self, seconds: float) -> None:
        self.time += seconds


def record(**changes: Any) -> TaskRecord:
    """A task of study ``s`` with one objective, `loss`."""
    spec = changes.pop("spec", None) or TaskSpec(
        objective={"kind": "function", "target": "m:f"},
        parameters={"x": 1.5, "General/k": 2},
        metrics=changes.pop("metrics", (LOSS,)),
    )
    fields: dict[str, Any] = {
        "id": new_task_id(),
        "name": "t",
        "study": "s",
        "trial": 0,
        "spec": spec,
        "created_at": 5.0,
        **changes,
    }
    return TaskRecord(**fields)
