"""Objectives: the metrics that a study optimizes, in ClearML's words."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import optuna

from worker.protocol import keys
from worker.protocol.errors import BadInput
from worker.protocol.metrics import ObjectiveMetric, Sign, Summary
from worker.sdk.home import home


class Objective:
    """One or several metrics, and in which sense each is best.

    Args:
        title, series: name the metric ``title/series``. Lists of the same length for several objectives.
        order: the sign: ``min``, ``max`` (of the last value), ``min_global``, ``max_global`` (of all values
            reported).
        extremum: True makes ``min`` and ``max`` the global ones; ClearML's other way to say it.

    Raises:
        BadInput: lengths differ, a sign is unknown, or there are too many metrics.
    """

    def __init__(
        self,
        title: str | Sequence[str],
        series: str | Sequence[str],
        order: str | Sequence[str] = "max",
        extremum: bool | Sequence[bool] = False,
    ) -> None:
        titles, serieses = _listed(title), _listed(series)
        signs = _listed(order)
        if len(signs) == 1:
            signs = signs * len(titles)
        globals_ = [extremum] * len(signs) if isinstance(extremum, bool) else list(extremum)
        if len(globals_) != len(signs):
            raise BadInput(
                f"objective: {len(signs)} sign(s) and {len(globals_)} extremum(s); give as many of each"
            )
        signs = [
            f"{sign}_global" if is_global and sign in ("min", "max") else sign
            for sign, is_global in zip(signs, globals_, strict=True)
        ]
        if not len(titles) == len(serieses) == len(signs):
            raise BadInput(
                f"objective: {len(titles)} title(s), {len(serieses)} series and {len(signs)} sign(s); "
                "give as many of each"
            )
        if len(titles) > keys.MAX_OBJECTIVES:
            raise BadInput(f"objective: {len(titles)} metrics; a study has at most {keys.MAX_OBJECTIVES}")
        for sign in signs:
            if sign not in [known.value for known in Sign]:
                known = ", ".join(known.value for known in Sign)
                raise BadInput(f"objective: unknown sign {sign!r}; use one of {known}")
        self.metrics = tuple(
            ObjectiveMetric(title=t, series=s, sign=Sign(o))
            for t, s, o in zip(titles, serieses, signs, strict=True)
        )
        if len({metric.key for metric in self.metrics}) < len(self.metrics):
            raise BadInput("objective: a metric is named twice")

    @classmethod
    def of(cls, metrics: Sequence[ObjectiveMetric]) -> Objective:
        """The objective over these metrics."""
        return cls([m.title for m in metrics], [m.series for m in metrics], [m.sign.value for m in metrics])

    @property
    def directions(self) -> list[optuna.study.StudyDirection]:
        """Optuna's directions, in the order of the metrics."""
        direction = optuna.study.StudyDirection
        return [
            direction.MAXIMIZE if metric.sign.maximizes else direction.MINIMIZE for metric in self.metrics
        ]

    def get_objective_metric(self) -> Any:
        """(title, series) of the metric; a list of such for several objectives."""
        pairs = [(metric.title, metric.series) for metric in self.metrics]
        return pairs[0] if len(pairs) == 1 else pairs

    def get_objective_sign(self) -> Any:
        """1.0 where more is better, -1.0 where less is; a list for several objectives."""
        signs = [1.0 if metric.sign.maximizes else -1.0 for metric in self.metrics]
        return signs[0] if len(signs) == 1 else signs

    def get_objective(self, task_id: Any) -> Any:
        """A task's value of the objective, by its id, its `Task` or its `Job`; a list for several objectives.

        Returns:
            None while a metric has no finite value.
        """
        name = task_id if isinstance(task_id, str) else getattr(task_id, "id", None) or task_id.task_id()
        values = self.values(home().store.reports.scalars([str(name)])[0])
        if values is None or not all(map(math.isfinite, values)):
            return None
        return values[0] if len(values) == 1 else values

    def get_normalized_objective(self, task_id: Any) -> Any:
        """As `get_objective`, turned so that more is better."""
        found, sign = self.get_objective(task_id), self.get_objective_sign()
        if found is None or not isinstance(found, list):
            return None if found is None else found * sign
        return [value * one for value, one in zip(found, sign, strict=True)]

    def values(self, scalars: Mapping[str, Summary]) -> list[float] | None:
        """The objective values in a task's scalars, one per metric; None when one is missing."""
        found = []
        for metric in self.metrics:
            summary = scalars.get(metric.key)
            if summary is None:
                return None
            found.append(summary.value(metric.sign))
        return found


class MultiObjective(Objective):
    """Several objectives; the same as `Objective` with lists."""


def _listed(value: str | Sequence[str]) -> list[str]:
    return [value] if isinstance(value, str) else list(value)
