"""The facts of a run, as values: what the report shows in each of its forms."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from controller.report.space import ranges, seen
from controller.results.configuration import configuration
from controller.results.parameters import as_written, shown
from controller.results.ranking import order_by_values
from controller.results.standing import merged
from controller.results.status import budget_rows, elapsed_s
from controller.results.study_data import StudyData
from controller.results.timeline import LOST, Attempt, timeline
from worker.protocol import Reason, Status, StudyRecord, StudyState, TaskRecord
from worker.protocol.printable import lines, one_line
from worker.protocol.study_log import LogEntry

LONGEST = 300
"""Characters of a reason that are shown."""
PRUNED = Reason.PRUNED.value
_KINDS = (Status.COMPLETED.value, PRUNED, *(status.value for status in Status if status != Status.COMPLETED))
_OPEN = (StudyState.RUNNING, StudyState.PAUSED)


@dataclass(frozen=True, kw_only=True)
class Trial:
    """One trial, as a row of the report."""

    number: int
    task: str
    status: str
    reason_class: str
    reason: str
    values: tuple[float | None, ...]
    """Of each objective; None where it has no finite one."""
    parameters: Mapping[str, Any]
    attempt: int
    compute_s: float
    worker: str
    started_at: float | None
    """Seconds since the epoch, as `ended_at`."""
    ended_at: float | None
    tags: tuple[str, ...]
    note: str
    retries: tuple[int, ...] = ()
    """Numbers of the interrupted trials that it stands for."""
    rank: int | None = None
    """From 1; None where its values don't stand, or break a constraint."""

    @property
    def kind(self) -> str:
        """Its status; of a stopped one whether it was pruned."""
        return PRUNED if self.reason_class == Reason.PRUNED else self.status


@dataclass(frozen=True, kw_only=True)
class Failure:
    """Trials that ended alike without a result."""

    status: str
    reason_class: str
    count: int
    example: int
    """Number of the newest such trial."""
    words: str
    """The reason that most of them have."""


@dataclass(frozen=True, kw_only=True)
class WorkerUse:
    """What one worker did."""

    name: str
    trials: int
    completed: int
    failed: int
    lost: int
    """Attempts that ended with it."""
    busy_s: float
    """Seconds, summed over its slots."""
    about: str = ""
    """Its machine: host, slots, version, GPUs, as far as known."""


@dataclass(frozen=True, kw_only=True)
class Facts:
    """What is told of a study besides its plots."""

    study: str
    state: str
    reason: str
    at: float
    """When the study was read, in seconds since the epoch."""
    created_at: float
    ended_at: float | None
    elapsed_s: float
    goals: tuple[str, ...]
    metrics: tuple[str, ...]
    """Keys of the objectives."""
    counts: Mapping[str, int]
    """Trials by `Trial.kind`."""
    left_out: int
    """Tasks of a large study that are in none of this."""
    compute_s: float
    most_at_once: int
    """Trials that ran at the same time."""
    trials: tuple[Trial, ...]
    best: tuple[Trial, ...]
    """The best first."""
    budget: tuple[Mapping[str, Any], ...]
    ranges: Mapping[str, str]
    """Parameter → what it was searched over."""
    failures: tuple[Failure, ...]
    workers: tuple[WorkerUse, ...]
    about: Mapping[str, str]
    """Objective, sampler, pruner, queue and such, in words."""
    versions: Mapping[str, str]
    """Program → version that ran the study, as far as known."""
    importances: Mapping[str, Mapping[str, float]]
    """Objective → parameter → how much it matters, from 0 to 1; empty where nobody can tell."""
    events: tuple[LogEntry, ...] = ()
    """The study's log, the oldest first."""
    configuration: str = ""
    """As YAML, which `controller start` reads as well; without values of environment variables."""

    @property
    def parameters(self) -> list[str]:
        """Names of the parameters that were searched, in the order of the configuration."""
        used = dict.fromkeys(name for trial in self.trials for name in trial.parameters)
        return [*(name for name in self.ranges if name in used), *(n for n in used if n not in self.ranges)]

    @property
    def by_importance(self) -> list[str]:
        """The same, the most important for the first objective first."""
        first = next(iter(self.importances.values()), {})
        return sorted(self.parameters, key=lambda name: -first.get(name, -1.0))


def gather(
    data: StudyData,
    *,
    acts: bool,
    top_k: int = 10,
    importances: Mapping[str, Mapping[str, float]] | None = None,
) -> Facts:
    """The facts of a study.

    Args:
        acts: whether a controller acts on it.
        top_k: best trials that are told.
        importances: as in `Facts`.
    """
    record, at = data.study, data.at
    trials = _trials(data)
    attempts = timeline(data)
    by_rank = sorted((trial for trial in trials if trial.rank is not None), key=lambda trial: trial.rank or 0)
    state = record.state if acts or record.state not in _OPEN else StudyState.INTERRUPTED
    counts = Counter(trial.kind for trial in trials)
    return Facts(
        study=record.name,
        state=state,
        reason=record.reason if state == record.state else "its controller is gone",
        at=at,
        created_at=record.created_at,
        ended_at=record.ended_at,
        elapsed_s=elapsed_s(record, at),
        goals=tuple(f"{'maximize' if m.sign.maximizes else 'minimize'} {m.key}" for m in record.metrics),
        metrics=tuple(metric.key for metric in record.metrics),
        counts={kind: counts[kind] for kind in _KINDS if counts[kind]},
        left_out=data.left_out,
        compute_s=sum(task.record.compute_s for task in data.tasks),
        most_at_once=_most_at_once(attempts),
        trials=tuple(trials),
        best=tuple(by_rank[:top_k]),
        budget=tuple(budget_rows(record.budget)),
        ranges=_ranges(record, trials),
        failures=tuple(_failures(trials)),
        workers=tuple(_workers(trials, attempts, _table(record, "workers"))),
        about=_about(record, [task.record for task in data.tasks]),
        versions={str(name): str(text) for name, text in _table(record, "versions").items()},
        importances=importances or {},
        events=data.events,
        configuration=lines(configuration(record)),
    )


def _ranges(record: StudyRecord, trials: Sequence[Trial]) -> dict[str, str]:
    """Parameter → what it was searched over; where nobody has said so beforehand, what was seen of it."""
    values: dict[str, list[Any]] = {}
    for trial in trials:
        for name, one in trial.parameters.items():
            values.setdefault(name, []).append(one)
    known = ranges(record.sweep)
    return {**known, **{name: seen(found) for name, found in values.items() if name not in known}}


def _table(record: StudyRecord, name: str) -> Mapping[str, Any]:
    """A part of a study's environment: a file may hold anything there."""
    found = record.environment.get(name) if isinstance(record.environment, Mapping) else None
    return found if isinstance(found, Mapping) else {}


def _trials(data: StudyData) -> list[Trial]:
    """The trials by number, with their ranks in the order that `controller top` has."""
    of_task = {task.record.id: task for task in data.tasks}
    told = [(of_task[record.id], earlier) for record, earlier in merged([t.record for t in data.tasks])]
    values = [[task.value(metric) for metric in data.objectives] for task, _ in told]
    usable = [
        [one for one in row if one is not None] if task.ranks and None not in row else None
        for (task, _), row in zip(told, values, strict=True)
    ]
    order = order_by_values(data.objectives, usable, len(told))
    ranks = {place: rank for rank, place in enumerate(order, start=1)}
    return [
        Trial(
            number=task.record.trial,
            task=task.record.id,
            status=task.record.status.value,
            reason_class=task.record.reason_class.value if task.record.reason_class else "",
            reason=one_line(task.record.reason, LONGEST),
            values=tuple(row),
            parameters=as_written(task.record, everything=False),
            attempt=task.record.attempt,
            compute_s=task.record.compute_s,
            worker=task.record.worker,
            started_at=task.record.started_at,
            ended_at=task.record.ended_at,
            tags=tuple(map(one_line, task.record.all_tags)),
            note=one_line(task.record.note, LONGEST),
            retries=tuple(earlier),
            rank=ranks.get(place),
        )
        for place, ((task, earlier), row) in enumerate(zip(told, values, strict=True))
    ]


def _failures(trials: Sequence[Trial]) -> list[Failure]:
    """Trials without a result by status and class, the most frequent first; pruned ones are none."""
    alike: dict[tuple[str, str], list[Trial]] = {}
    for trial in trials:
        unlucky = trial.status in (Status.FAILED, Status.STOPPED) and trial.reason_class != Reason.PRUNED
        if unlucky:
            alike.setdefault((trial.status, trial.reason_class), []).append(trial)
    found = []
    for (status, reason_class), members in alike.items():
        words, _ = Counter(trial.reason for trial in members).most_common(1)[0]
        found.append(
            Failure(
                status=status,
                reason_class=reason_class,
                count=len(members),
                example=max(trial.number for trial in members if trial.reason == words),
                words=words,
            )
        )
    return sorted(found, key=lambda failure: (-failure.count, failure.status, failure.reason_class))


def _workers(
    trials: Sequence[Trial], attempts: Sequence[Attempt], known: Mapping[str, Any]
) -> list[WorkerUse]:
    """The workers that ran something, by name."""
    by_name: dict[str, list[Attempt]] = {}
    for attempt in attempts:
        by_name.setdefault(_worker(attempt.worker), []).append(attempt)
    ended = [(_worker(trial.worker), trial.status) for trial in trials]
    counts = Counter(ended)
    return [
        WorkerUse(
            name=name,
            trials=len({attempt.trial for attempt in members}),
            completed=counts[name, Status.COMPLETED.value],
            failed=counts[name, Status.FAILED.value],
            lost=sum(attempt.outcome == LOST for attempt in members),
            busy_s=sum(attempt.ended_at - attempt.started_at for attempt in members),
            about=_machine(known.get(name)),
        )
        for name, members in sorted(by_name.items())
    ]


def _worker(slot: str) -> str:
    return slot.rsplit("/", 1)[0]


def _machine(about: Any) -> str:
    """Such as ``node7, 2 slots, optuna-rq 0.1.0, 2 × NVIDIA H100``; empty where nothing is known."""
    if not isinstance(about, Mapping):
        return ""
    slots = about.get("slots")
    gpus = Counter(str(gpu) for gpu in about.get("gpus") or ())
    parts = [
        str(about.get("host") or ""),
        f"{slots} slot{'s' if str(slots) != '1' else ''}" if slots else "",
        f"optuna-rq {about['version']}" if about.get("version") else "",
        *(f"{count} × {name}" if count > 1 else name for name, count in gpus.items()),
    ]
    return ", ".join(part for part in parts if part)


def _most_at_once(attempts: Sequence[Attempt]) -> int:
    """Attempts that ran at the same time."""
    changes = [(attempt.started_at, 1) for attempt in attempts]
    changes += [(attempt.ended_at, -1) for attempt in attempts]
    running = most = 0
    for _, change in sorted(changes):
        running += change
        most = max(most, running)
    return most


# In words


def _about(record: StudyRecord, tasks: Sequence[TaskRecord]) -> dict[str, str]:
    sweep = record.sweep
    found = {
        "objective": _objective(tasks),
        "sampler": _with_options(sweep.get("sampler")),
        "pruner": _with_options(sweep.get("pruner")),
        "queue": record.queue,
        "controller": record.controller,
        "storage": record.storage,
        "artifacts": record.artifacts,
        "imported from": record.copied_from,
    }
    if code := next((task.spec.code for task in tasks if task.spec.code), None):
        found["code"] = f"snapshot {str(code.get('sha256', ''))[:12]}, {code.get('unpacked', '?')} bytes"
    return {name: text for name, text in found.items() if text}


def _objective(tasks: Sequence[TaskRecord]) -> str:
    about = next((task.spec.objective for task in tasks if task.spec.objective), {})
    kind = str(about.get("kind", ""))
    target = next((about[name] for name in ("target", "path", "module", "argv") if about.get(name)), "")
    if isinstance(target, (list, tuple)):
        target = " ".join(str(part) for part in target)
    return f"{kind} {target}".strip()


def _with_options(table: Any) -> str:
    """Such as ``tpe (seed 1)``."""
    if not isinstance(table, Mapping) or not table.get("type"):
        return ""
    options = ", ".join(f"{name} {_option(value)}" for name, value in table.items() if name != "type")
    return f"{table['type']} ({options})" if options else str(table["type"])


def _option(value: Any) -> str:
    return str(value["type"]) if isinstance(value, Mapping) and "type" in value else shown(value)
