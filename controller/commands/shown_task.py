"""A task for people: what ``controller show`` prints."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from rich.console import Console, RenderableType
from rich.text import Text

from controller.commands.tables import table_of
from controller.results.durations import spoken
from controller.results.tasks import gpu_rows
from worker.protocol.printable import lines, one_line
from worker.protocol.values import as_text

_PLAIN = (
    "task_id", "name", "study", "trial", "status", "reason_class", "reason", "attempt", "worker",
    "created_at", "started_at", "ended_at", "compute_s", "iterations", "tags", "note",
)  # fmt: skip


def print_task(
    out: Console, about: Mapping[str, Any], plots: Sequence[RenderableType], *, all_metrics: bool
) -> None:
    """Print everything about a task.

    Args:
        about: as `describe` returns it.
        plots: what it has reported, drawn.
        all_metrics: those of the machine as well.
    """
    for name in _PLAIN:
        if about[name] not in (None, "", []):
            said = spoken(about[name]) if name == "compute_s" else about[name]
            shown = ", ".join(said) if isinstance(said, list) else str(said)
            out.print(f"{name.removesuffix('_s'):<14} {one_line(shown)}", markup=False)
    for part in (*_values(about, all_metrics=all_metrics), *plots, *_saved(about)):
        out.print(part)


def _values(about: Mapping[str, Any], *, all_metrics: bool) -> Iterator[RenderableType]:
    """Parameters and metrics."""
    if about["hyper_parameters"]:
        parameters = about["hyper_parameters"].items()
        yield table_of([{"parameter": name, "value": as_text(value)} for name, value in parameters])
    metrics = {k: m for k, m in about["metrics"].items() if all_metrics or not k.startswith(":monitor:")}
    if metrics:
        columns = ("value", "min_value", "max_value")
        yield table_of([{"metric": k, **{n: m[n] for n in columns}} for k, m in metrics.items()])
    gpus = gpu_rows(about["metrics"])
    if gpus and not all_metrics:
        yield table_of(gpus, "GPUs, at most")
    if len(metrics) < len(about["metrics"]):
        hidden = len(about["metrics"]) - len(metrics)
        yield Text(f"{hidden} metric(s) of the machine (:monitor:) with --all-metrics")


def _saved(about: Mapping[str, Any]) -> Iterator[RenderableType]:
    """Artifacts and traceback."""
    if about["artifacts"]:
        rows = [
            {"artifact": k, "file": a["filename"], "bytes": a["size"], "url": a["url"]}
            for k, a in about["artifacts"].items()
        ]
        yield table_of(rows)
    if about["error"]:
        yield Text(lines(about["error"]))
