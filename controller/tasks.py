"""A task as the head node sees it: its record to read, and a few acts."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from controller.ranking import hyper_parameters, metrics
from worker.protocol import Reason, TaskRecord
from worker.protocol.clock import iso

if TYPE_CHECKING:
    from controller.backend import Backend


class TaskHandle:
    """One task, in the words of ClearML's `Task`."""

    def __init__(self, backend: Backend, record: TaskRecord) -> None:
        self._backend = backend
        self._record = record

    @property
    def id(self) -> str:
        return self._record.id

    task_id = id

    @property
    def name(self) -> str:
        return self._record.name

    @property
    def parent(self) -> str:
        return self._record.parent

    @property
    def status(self) -> str:
        """As last read; see `reload`."""
        return self._record.status.value

    def reload(self) -> None:
        """Read the record anew."""
        self._record = self._backend.store.get(self._record.id)

    def get_parameters(self) -> dict[str, str]:
        """``Section/name`` → value as text."""
        return hyper_parameters(self._record, everything=True)

    def get_last_scalar_metrics(self) -> dict[str, dict[str, dict[str, Any]]]:
        """title → series → ``{last, min, max}``."""
        found: dict[str, dict[str, dict[str, Any]]] = {}
        for summary in self._backend.store.scalars([self.id])[0].values():
            values = {"last": summary.last, "min": summary.min, "max": summary.max}
            found.setdefault(summary.title, {})[summary.series] = values
        return found

    def mark_stopped(self) -> None:
        """Ask for the task's end."""
        self._record = self._backend.store.request_stop(self.id, Reason.USER, "stopped by hand")

    def __repr__(self) -> str:
        return f"TaskHandle(id={self.id!r}, name={self.name!r}, status={self.status!r})"


def describe(store: Any, record: TaskRecord) -> dict[str, Any]:
    """Everything about a task, as JSON types: what `controller show` prints."""
    scalars = store.scalars([record.id])[0]
    artifacts = {name: json.loads(text) for name, text in store.artifacts(record.id).items()}
    return {
        "task_id": record.id,
        "name": record.name,
        "study": record.study,
        "trial": record.trial,
        "status": record.status.value,
        "reason_class": record.reason_class.value if record.reason_class else None,
        "reason": record.reason,
        "error": record.error,
        "attempt": record.attempt,
        "worker": record.worker,
        "queue": record.spec.queue,
        "objective": record.spec.objective,
        "created_at": iso(record.created_at),
        "queued_at": iso(record.queued_at),
        "started_at": iso(record.started_at),
        "ended_at": iso(record.ended_at),
        "compute_s": round(record.compute_s, 3),
        "iterations": record.iterations,
        "hyper_parameters": hyper_parameters(record, everything=True),
        "metrics": metrics(scalars, None),
        "artifacts": artifacts,
        "tags": list(record.spec.tags),
    }
