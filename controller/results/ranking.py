"""Top-k, from the indexes that are kept as reports come in."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from controller.results.parameters import as_written, in_sections
from controller.results.standing import is_interrupted, retries, stands
from worker.protocol import ObjectiveMetric, Status, Store, Summary, TaskRecord
from worker.protocol.errors import BadInput

EXTRA = 16
"""Tasks read at once beyond those that are wanted: some have no results yet."""


@dataclass(frozen=True, kw_only=True)
class Best:
    """The best tasks at one moment, the best first."""

    records: list[TaskRecord]
    fronts: dict[str, int]
    """Task id → its front, 0 being the Pareto front; empty for a single objective."""
    front_size: int
    """Tasks on the Pareto front, whether or not they are in `records`; 0 for a single objective."""
    standing: int | None = None
    """How many of `records`, from the first, have their results; None where all are ranked alike."""


class Ranking:
    """The best tasks of one study.

    With one objective this takes O(log n + k). With several objectives all tasks are compared, and ordered as
    `controller.results.pareto` does. Tasks that failed or violate a constraint never rank, nor do those that
    lack a finite value of an objective.
    """

    def __init__(self, store: Store, study: str, metrics: Sequence[ObjectiveMetric]) -> None:
        self._store = store
        self._study = study
        self._metrics = tuple(metrics)

    def records(self, top_k: int, *, only_completed: bool = False) -> list[TaskRecord]:
        """The records of the best tasks, the best first."""
        return self.best(top_k, only_completed=only_completed).records

    def best(self, top_k: int | None, *, only_completed: bool = False) -> Best:
        """The best tasks, with their fronts.

        Args:
            top_k: how many; None for the whole Pareto front.

        Raises:
            BadInput: the Pareto front of a study with a single objective was asked for.
        """
        if len(self._metrics) > 1:
            return self._best_of_several(top_k, only_completed)
        if top_k is None:
            raise BadInput(f"study {self._study!r} has one objective; a Pareto front needs several")
        ids = self._own_best(top_k, only_completed)
        return Best(records=self._records(ids), fronts={}, front_size=0)

    def _own_best(self, top_k: int, only_completed: bool) -> list[str]:
        """Ids of the best of the study's own tasks: workers write the index, and may list others there."""
        count = top_k
        while True:
            ids = self._store.ranking.best(self._study, count, only_completed=only_completed)
            own = self._store.studies.own(self._study, ids)
            if len(own) >= top_k or len(ids) < count:
                return own[: max(0, top_k)]
            count += max(count, top_k - len(own))

    def _best_of_several(self, top_k: int | None, only_completed: bool) -> Best:
        from controller.results import pareto  # noqa: PLC0415 - numpy takes long to import

        scores = self._own_scores(only_completed)
        ids, points = list(scores), list(scores.values())
        size = len(next(pareto.fronts(points), ()))
        order = pareto.order(points, size if top_k is None else top_k)
        fronts = {ids[index]: front for index, front in order}
        return Best(records=self._records(list(fronts)), fronts=fronts, front_size=size)

    def _own_scores(self, only_completed: bool = False) -> dict[str, tuple[float, ...]]:
        """The scores of the study's own tasks by several objectives, see `_own_best`."""
        scores = self._store.ranking.scores(self._study, len(self._metrics), only_completed=only_completed)
        own = set(self._store.studies.tasks(self._study))
        return {task_id: score for task_id, score in scores.items() if task_id in own}

    def finished_first(self, top_k: int | None) -> Best:
        """The best of the tasks whose results stand; then, while there is room, those that run, by what they
        have reported so far, and those that were cut short and not tried again yet.

        With one objective this takes O(log n + k), plus what those cost that are passed over.

        Args:
            top_k: how many; None for the whole Pareto front.

        Raises:
            BadInput: the Pareto front of a study with a single objective was asked for.
        """
        if len(self._metrics) == 1:
            if top_k is None:
                return self.best(None)
            standing, others = self._walk(top_k)
            fronts, size = dict[str, int](), 0
        else:
            standing, others, fronts, size = self._fronts_of_standing(top_k)
        room = 0 if top_k is None else top_k - len(standing)
        if room and any(map(is_interrupted, others)):
            later = retries(self._records(self._store.studies.tasks(self._study)))
            others = [record for record in others if record.id not in later]
        records = [*standing, *others[:room]]
        return Best(records=records, fronts=fronts, front_size=size, standing=len(standing))

    def _walk(self, top_k: int) -> tuple[list[TaskRecord], list[TaskRecord]]:
        """The best `top_k` tasks of one objective whose results stand, and the others passed on the way."""
        standing: list[TaskRecord] = []
        others: list[TaskRecord] = []
        start, page = 0, top_k + EXTRA
        while len(standing) < top_k:
            ids = self._store.ranking.best(self._study, page, start=start)
            for record in self._records(self._store.studies.own(self._study, ids)):
                (standing if stands(record) else others).append(record)
            start += page
            if len(ids) < page:
                break
        return standing[:top_k], others

    def _fronts_of_standing(
        self, top_k: int | None
    ) -> tuple[list[TaskRecord], list[TaskRecord], dict[str, int], int]:
        """Of several objectives: the best whose results stand, the others, and `Best`'s fronts and size."""
        from controller.results import pareto  # noqa: PLC0415 - numpy takes long to import

        scores = self._own_scores()
        completed = set(self._store.studies.tasks(self._study, Status.COMPLETED))
        others = self._records([task_id for task_id in scores if task_id not in completed])
        kept = {record.id for record in others if stands(record)}
        ids = [task_id for task_id in scores if task_id in completed or task_id in kept]
        points = [scores[task_id] for task_id in ids]
        size = len(next(pareto.fronts(points), ()))
        order = pareto.order(points, size if top_k is None else top_k)
        fronts = {ids[index]: front for index, front in order}
        waiting = [record for record in others if record.id not in kept]
        return self._records(list(fronts)), waiting, fronts, size

    def _records(self, ids: Sequence[str]) -> list[TaskRecord]:
        return [record for record in self._store.tasks.get_many(ids) if record is not None]

    def details(
        self,
        top_k: int,
        *,
        all_metrics: bool = False,
        all_hyper_parameters: bool = False,
        only_completed: bool = False,
    ) -> list[dict[str, Any]]:
        """What `get_top_experiments_details` returns; with several objectives also the ``front``."""
        best = self.best(top_k, only_completed=only_completed)
        return self.describe(best, all_metrics=all_metrics, all_hyper_parameters=all_hyper_parameters)

    def describe(
        self,
        best: Best,
        *,
        all_metrics: bool = False,
        all_hyper_parameters: bool = False,
        names_as_written: bool = False,
    ) -> list[dict[str, Any]]:
        """The rows of `details`, for these tasks.

        Args:
            names_as_written: parameters as `as_written` has them, which commands print.
        """
        records = best.records
        parameters = as_written if names_as_written else in_sections
        scalars = self._store.reports.scalars([record.id for record in records])
        wanted = None if all_metrics else {metric.key for metric in self._metrics}
        return [
            {
                "task_id": record.id,
                "hyper_parameters": parameters(record, everything=all_hyper_parameters),
                "metrics": metrics(found, wanted),
                "status": record.status.value,
                **({"front": best.fronts.get(record.id)} if len(self._metrics) > 1 else {}),
            }
            for record, found in zip(records, scalars, strict=True)
        ]


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


def order_by_values(
    metrics: Sequence[ObjectiveMetric], values: Sequence[Sequence[float] | None], top_k: int
) -> list[int]:
    """The indexes of the best rows of objective values, the best first.

    Args:
        metrics: what each row holds.
        values: rows that are None or not finite never rank.
    """
    usable = [index for index, row in enumerate(values) if row is not None and all(map(math.isfinite, row))]
    scores = [
        tuple(metric.score(value) for metric, value in zip(metrics, values[index] or (), strict=True))
        for index in usable
    ]
    if len(metrics) == 1:
        order = sorted(range(len(usable)), key=scores.__getitem__)[: max(0, top_k)]
        return [usable[place] for place in order]
    from controller.results import pareto  # noqa: PLC0415 - numpy takes long to import

    return [usable[place] for place, _ in pareto.order(scores, top_k)]
