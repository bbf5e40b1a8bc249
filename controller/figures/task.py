"""The curves of one task: the series of a title together, or a resource of its machine over time."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from controller.figures.figure import Drawn, axis, empty, figure, number, plain
from controller.results.curves import Curve
from controller.results.task_parts import MetricGroup
from worker.protocol import TaskRecord
from worker.protocol.metrics import split_key


def draw(
    record: TaskRecord,
    group: MetricGroup,
    curves: Mapping[str, Curve],
    *,
    by_time: bool = False,
    log: bool = False,
) -> Drawn:
    """One figure of a task.

    Args:
        curves: by metric key; those of the group are drawn.
        by_time: over minutes since its first start rather than over iterations; the machine's always are.
        log: with a logarithmic axis of values.
    """
    over_time = by_time or group.machine
    traces: list[dict[str, Any]] = []
    for key in group.keys:
        curve = curves.get(key)
        if curve is None:
            continue
        series = split_key(key)[1]
        traces.append(
            {
                "type": "scatter",
                "mode": "lines" if len(curve.values) > 1 else "markers",
                "name": plain(series or group.title),
                "x": _minutes(record, curve) if over_time else [float(each) for each in curve.iterations],
                "y": [number(value) for value in curve.values],
                "hovertemplate": "%{x}: %{y}",
            }
        )
    if not traces:
        return empty("nothing is kept of it")
    across = axis("minutes since the start" if over_time else "iteration")
    up = axis(group.unit or group.title, **({"type": "log"} if log else {}))
    if group.unit and not log:
        up["rangemode"] = "tozero"
    return figure(traces, xaxis=across, yaxis=up, showlegend=len(traces) > 1, hovermode="x unified")


def _minutes(record: TaskRecord, curve: Curve) -> list[float]:
    # An attempt that resumed has points of the one before.
    starts = [record.started_at or curve.times[0], *(one.started_at for one in record.earlier)]
    began = min(*starts, curve.times[0])
    return [round((at - began) / 60, 4) for at in curve.times]
