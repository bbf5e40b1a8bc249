"""Top-k, from the index that is kept as reports come in."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from worker.protocol import ObjectiveMetric, Store, Summary, TaskRecord


class Ranking:
    """The best tasks of one study. O(log n + k), whatever its size.

    Tasks that failed never rank, nor does a value that isn't finite.
    """

    def __init__(self, store: Store, study: str, metrics: Sequence[ObjectiveMetric]) -> None:
        self._store = store
        self._study = study
        self._metrics = tuple(metrics)

    def records(self, top_k: int, *, only_completed: bool = False) -> list[TaskRecord]:
        """The records of the best tasks, the best first."""
        ids = self._store.best(self._study, top_k, only_completed=only_completed)
        return [record for record in self._store.get_many(ids) if record is not None]

    def details(
        self,
        top_k: int,
        *,
        all_metrics: bool = False,
        all_hyper_parameters: bool = False,
        only_completed: bool = False,
    ) -> list[dict[str, Any]]:
        """What `get_top_experiments_details` returns."""
        records = self.records(top_k, only_completed=only_completed)
        scalars = self._store.scalars([record.id for record in records])
        wanted = None if all_metrics else {metric.key for metric in self._metrics}
        return [
            {
                "task_id": record.id,
                "hyper_parameters": hyper_parameters(record, everything=all_hyper_parameters),
                "metrics": metrics(found, wanted),
                "status": record.status.value,
            }
            for record, found in zip(records, scalars, strict=True)
        ]


def hyper_parameters(record: TaskRecord, *, everything: bool) -> dict[str, str]:
    """``Section/name`` → value as text, the searched parameters or all of them."""
    parameters = record.spec.parameters
    searched = set(record.spec.searched) if record.spec.searched else set(parameters)
    return {
        (name if "/" in name else f"General/{name}"): _text(value)
        for name, value in parameters.items()
        if everything or name in searched
    }


def _text(value: Any) -> str:
    return repr(value) if isinstance(value, float) else str(value)


def metrics(scalars: dict[str, Summary], wanted: set[str] | None) -> dict[str, dict[str, Any]]:
    """Metric → ``{metric, variant, value, min_value, max_value}``; numbers that aren't finite are None."""
    return {
        key: {
            "metric": summary.title,
            "variant": summary.series,
            "value": _finite(summary.last),
            "min_value": _finite(summary.min),
            "max_value": _finite(summary.max),
        }
        for key, summary in scalars.items()
        if wanted is None or key in wanted
    }


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
