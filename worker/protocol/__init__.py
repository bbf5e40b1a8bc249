"""The contract between the controller and the workers: records, keys, transitions, events."""

from worker.protocol.batch import Batch, Point
from worker.protocol.clock import Clock, SystemClock
from worker.protocol.metrics import ObjectiveMetric, Sign, Summary, metric_key
from worker.protocol.record import StopRequest, StudyRecord, StudyState, TaskRecord, TaskSpec, new_task_id
from worker.protocol.status import FINISHED, OPEN, Reason, Status
from worker.protocol.store import Store

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
