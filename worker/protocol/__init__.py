"""The contract between the controller and the workers: records, keys, transitions, events.

Names are imported when they are first used: a runner, which knows no Redis, does not wait for its client.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from worker.protocol.batch import Batch, Point
    from worker.protocol.clock import Clock, SystemClock
    from worker.protocol.metrics import ObjectiveMetric, Sign, Summary, metric_key
    from worker.protocol.record import TaskRecord, TaskSpec, new_task_id
    from worker.protocol.status import FINISHED, OPEN, Reason, Status
    from worker.protocol.stop_request import StopRequest
    from worker.protocol.store import Store
    from worker.protocol.study_record import StudyRecord, StudyState

_HOMES = {
    "FINISHED": "status",
    "OPEN": "status",
    "Batch": "batch",
    "Clock": "clock",
    "ObjectiveMetric": "metrics",
    "Point": "batch",
    "Reason": "status",
    "Sign": "metrics",
    "Status": "status",
    "StopRequest": "stop_request",
    "Store": "store",
    "StudyRecord": "study_record",
    "StudyState": "study_record",
    "Summary": "metrics",
    "SystemClock": "clock",
    "TaskRecord": "record",
    "TaskSpec": "record",
    "metric_key": "metrics",
    "new_task_id": "record",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    found = getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
    globals()[name] = found
    return found


__all__ = [
    "FINISHED",
    "OPEN",
    "Batch",
    "Clock",
    "ObjectiveMetric",
    "Point",
    "Reason",
    "Sign",
    "Status",
    "StopRequest",
    "Store",
    "StudyRecord",
    "StudyState",
    "Summary",
    "SystemClock",
    "TaskRecord",
    "TaskSpec",
    "metric_key",
    "new_task_id",
]
