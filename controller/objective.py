"""Objectives: the metrics that a study optimizes, in ClearML's words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import optuna

from worker.protocol import keys
from worker.protocol.errors import BadInput
from worker.protocol.metrics import ObjectiveMetric, Sign, Summary


class Objective:
    """One or several metrics, and in which sense each is best.

    Args:
        title, series: name the metric ``title/series``. Lists of the same length for several objectives.
        sign: ``min``, ``max`` (of the last value), ``min_global``, ``max_global`` (of all values reported).

    Raises:
        BadInput: lengths differ, a sign is unknown, or there are too many metrics.
    """

    def __init__(
        self,
        title: str | Sequence[str],
        series: str | Sequence[str],
        order: str | Sequence[str] = "max",
    ) -> None:
        titles, serieses = _listed(title), _listed(series)
        signs = _listed(order)
        if len(signs) == 1:
            signs = signs * len(titles)
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

    def get_objective_metric(self) -> tuple[str, str]:
        """(title, series) of the first metric; ClearML's."""
        return self.metrics[0].title, self.metrics[0].series

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
