"""Parts of one task that a page shows: its study, parameters with what they were chosen from, curves."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from controller.results.curves import MONITOR
from controller.results.parameters import as_written
from controller.results.space import Space, spaces_of
from worker.protocol import Store, StudyRecord, Summary, TaskRecord
from worker.protocol.metrics import metric_key
from worker.protocol.values import as_text, bare


@dataclass(frozen=True, kw_only=True)
class ParameterRow:
    """One parameter of a task."""

    name: str
    value: Any
    """JSON type; None for one that the task doesn't have."""
    text: str
    """The value as text; empty for one that the task doesn't have."""
    origin: str
    """``searched``, ``fixed`` (the base task's), ``connected`` (the program's own), or ``absent``."""
    space: str
    """What it was chosen from, in words; empty where that isn't known."""
    place: float | None
    """Where the value lies between the bounds, from 0 to 1; None without bounds."""


def parameter_rows(
    record: TaskRecord, study: StudyRecord | None, asked: Mapping[str, Space] | None = None
) -> list[ParameterRow]:
    """A task's parameters: those that were searched, then the others, then those that this trial lacks.

    Args:
        study: whose task it is; None for a task outside any.
        asked: what an objective written for Optuna has asked for as it ran: name → what it was chosen from.
    """
    declared = spaces_of(study.sweep) if study is not None else {}
    known = {**declared, **{name: (space,) for name, space in (asked or {}).items()}}
    searched = as_written(record, everything=False) if study is not None else {}
    rows = [
        _row(name, value, _origin(record, name, searched), known.get(name) or known.get(bare(name), ()))
        for name, value in as_written(record, everything=True).items()
    ]
    rows.sort(key=lambda row: row.origin != "searched")
    have = {known for row in rows for known in (row.name, bare(row.name))}
    return rows + [
        _row(name, None, "absent", spaces)
        for name, spaces in declared.items()
        if name not in have and any(space.when or space.note for space in spaces)
    ]


def _origin(record: TaskRecord, name: str, searched: Mapping[str, Any]) -> str:
    if name in record.spec.connected:
        return "connected"
    return "searched" if name in searched else "fixed"


def _row(name: str, value: Any, origin: str, spaces: tuple[Space, ...]) -> ParameterRow:
    chosen = spaces if origin in ("searched", "absent") else ()
    places = [place for space in chosen if (place := space.place(value)) is not None]
    return ParameterRow(
        name=name,
        value=value,
        text="" if origin == "absent" else as_text(value),
        origin=origin,
        space=" · or ".join(dict.fromkeys(space.text for space in chosen)),
        place=places[0] if places else None,
    )


def study_of_task(store: Store, record: TaskRecord) -> StudyRecord | None:
    """The study that a task belongs to, by the study's own list: workers write the record."""
    if not record.study or not store.studies.has(record.study, record.id):
        return None
    return store.studies.find(record.study)


@dataclass(frozen=True, kw_only=True)
class MetricGroup:
    """Metrics that one figure shows together: the series of a title."""

    title: str
    keys: tuple[str, ...]
    unit: str = ""
    machine: bool = False
    """Of the machine; drawn over time."""


_MACHINE = ":monitor:machine"
_GPU = ":monitor:gpu/"
_PARTS = (
    ("CPU", "percent", ("cpu_usage", "process_cpu_usage")),
    ("memory", "GiB", ("memory_used_gb", "process_memory_gb")),
    ("use", "percent", ("utilization",)),
    ("temperature", "°C", ("temperature",)),
    ("power", "W", ("power",)),
)
"""What is drawn together of the machine's metrics: title, unit, series. What is free says nothing new."""


def metric_groups(scalars: Mapping[str, Summary]) -> list[MetricGroup]:
    """What is drawn of a task's metrics: the program's by title, then the machine's.

    A single value has no curve.
    """
    titles: dict[str, list[str]] = {}
    sampled: dict[str, list[str]] = {}
    for key, summary in scalars.items():
        if key.startswith(MONITOR):
            sampled.setdefault(summary.title, []).append(summary.series)
        elif summary.count > 1:
            titles.setdefault(summary.title, []).append(key)
    groups = [MetricGroup(title=title, keys=tuple(keys)) for title, keys in titles.items()]
    for title in sorted(sampled, key=lambda title: (title != _MACHINE, title)):
        about = f"GPU {title.removeprefix(_GPU)} " if title.startswith(_GPU) else ""
        for part, unit, series in _PARTS:
            found = [name for name in series if name in sampled[title]]
            if found:
                keys = tuple(metric_key(title, name) for name in found)
                label = f"{about}{part}"
                groups.append(
                    MetricGroup(title=label[0].upper() + label[1:], keys=keys, unit=unit, machine=True)
                )
    return groups
