"""The task record and the study record: frozen, versioned, parsed once where they are read."""

from __future__ import annotations

import json
import re
import uuid
from collections.abc import Container, Mapping
from dataclasses import MISSING, dataclass, field, fields, replace
from typing import Any

from worker.protocol import earlier_attempt
from worker.protocol.bounds import MAX_NUMBER, MAX_STAMP, MAX_TEXT, bounded_float, bounded_int, moment
from worker.protocol.earlier_attempt import EarlierAttempt
from worker.protocol.errors import NewerRecord, RecordError
from worker.protocol.metrics import ObjectiveMetric
from worker.protocol.seeds import derived_seed
from worker.protocol.status import Reason, Status
from worker.protocol.stop_request import StopRequest
from worker.protocol.tags import decode_tags, encode_tags
from worker.protocol.words import with_article

VERSION = 2
"""Version of the records in Redis. A newer one is refused rather than misread."""


MAX_S = 1e9
"""Longest lease or grace period that is accepted, in seconds."""
MAX_SPEC = 16 << 20
"""Longest task spec that is accepted, in characters; configurations take the most of it."""


def new_task_id() -> str:
    """32 hexadecimal digits, as ClearML's."""
    return uuid.uuid4().hex


def job_id(task_id: str, attempt: int) -> str:
    """The id of the RQ job that carries an attempt: derived, so that enqueueing twice is harmless."""
    return f"{task_id}-{attempt}"


@dataclass(frozen=True, kw_only=True)
class TaskSpec:
    """What a worker needs to run a task; fixed when the task is created."""

    objective: dict[str, Any] = field(default_factory=dict)
    """``{"kind": "function" | "script" | "command", ...}``, as `worker.runner.objective` has it; or empty."""
    parameters: dict[str, Any] = field(default_factory=dict)
    """Name → value, JSON types. Names may carry a section (``General/lr``)."""
    metrics: tuple[ObjectiveMetric, ...] = ()
    """What the study optimizes; empty for a task that nobody ranks."""
    queue: str = "default"
    artifacts: str | None = None
    """URL of the artifact store, without credentials."""
    time_limit_s: float | None = None
    """Longest run of one attempt, in seconds."""
    max_iterations: int | None = None
    """Iterations of the first objective metric after which a further one stops the task."""
    lease_s: float = 15.0
    """Time without a sign of life after which the worker counts as lost, in seconds."""
    max_attempts: int = 3
    """Most executions, without those that were handed back."""
    retry_on: tuple[str, ...] = ()
    """Classes of failure that are retried, besides `worker_lost`."""
    grace_s: float = 10.0
    """Time between asking a program to stop and killing it, in seconds."""
    tags: tuple[str, ...] = ()
    searched: tuple[str, ...] = ()
    """Names of the parameters that the study chose; the others are the base task's."""
    connected: tuple[str, ...] = ()
    """Names of the parameters that a program has added itself: they aren't arguments of a function."""
    optional: tuple[str, ...] = ()
    """Names of parameters that a trial may lack (conditional ones)."""
    check_only: bool = False
    """Only prove that the objective can be loaded and called here; do not run it."""
    configurations: dict[str, Any] = field(default_factory=dict)
    """Name → ``{"kind": "dict", "value": {...}}`` or ``{"kind": "file", "name": ..., "text": ...}``."""
    constraints: tuple[dict[str, Any], ...] = ()
    """``{"metric": key, "max": bound}`` or ``{..., "min": bound}``: a task that violates one never ranks."""
    code: dict[str, Any] = field(default_factory=dict)
    """The study's own code, see `worker.slot.code`; empty when what is installed is used."""
    task_type: str = "training"
    """ClearML's word for what the task does; for people."""
    seed: int | None = None
    """Of a base task, what its jobs' seeds follow from. None for one that follows from the id."""
    confirms: str = ""
    """Id of the task whose parameters it runs again: its study's search doesn't count, rank or tell it."""

    def encode(self) -> str:
        """As JSON, short because every trial has one: fields at their defaults are left out."""
        own = self.__dict__
        data = {name: own[name] for name, default in _DEFAULTS.items() if own[name] != default}
        if self.metrics:
            data["metrics"] = [metric.to_dict() for metric in self.metrics]
        return json.dumps(data, separators=(",", ":"))

    @classmethod
    def decode(cls, text: str) -> TaskSpec:
        if len(text) > MAX_SPEC:
            raise RecordError(f"task record: field 'spec' is too long: {len(text)} characters")
        try:
            data = json.loads(text)
            for name, kinds in _TYPES.items():
                if not isinstance(data.get(name, _DEFAULTS[name]), kinds):
                    raise TypeError(f"{name} is {with_article(type(data[name]).__name__)}")
            for name in ("lease_s", "grace_s"):
                if not 0 <= data.get(name, 1.0) <= MAX_S:
                    raise ValueError(f"{name} is {data[name]}")
            data["metrics"] = tuple(ObjectiveMetric.from_dict(metric) for metric in data.get("metrics", ()))
            for name in ("tags", "connected", "optional", "searched", "constraints", "retry_on"):
                data[name] = tuple(data.get(name, ()))
            return cls(**data)
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
            raise RecordError(f"task record: field 'spec' is malformed: {error}") from error


_DEFAULTS: dict[str, Any] = {
    f.name: f.default if f.default is not MISSING else f.default_factory()  # type: ignore[operator] # dataclasses: one of both is set
    for f in fields(TaskSpec)
}
_TYPES: dict[str, Any] = {
    **dict.fromkeys(("objective", "parameters", "configurations", "code"), dict),
    **dict.fromkeys(("queue", "task_type", "confirms"), str),
    **dict.fromkeys(("lease_s", "grace_s"), (int, float)),
    "artifacts": (str, type(None)),
    "time_limit_s": (int, float, type(None)),
    "max_iterations": (int, type(None)),
    "seed": (int, type(None)),
    "max_attempts": int,
    "check_only": bool,
}
"""The types that fields may have in JSON; the others are lists."""


def _seeded(spec: TaskSpec, seed: str | None) -> TaskSpec:
    return spec if seed is None else replace(spec, seed=int(seed))


@dataclass(frozen=True, kw_only=True)
class TaskRecord:
    """One experiment as the worker sees it: the truth about its execution."""

    id: str
    name: str
    study: str = ""
    """The study it belongs to; empty for a base task or a standalone program."""
    project: str = ""
    parent: str = ""
    trial: int = -1
    """Optuna's trial number; -1 outside a study."""
    spec: TaskSpec
    status: Status = Status.CREATED
    attempt: int = 1
    """Which execution is current. A write that carries another one is refused."""
    created_at: float
    queued_at: float | None = None
    started_at: float | None = None
    """Start of the current attempt, seconds since the epoch."""
    ended_at: float | None = None
    compute_s: float = 0.0
    """Seconds computed, summed over the attempts that have ended."""
    worker: str = ""
    """The slot that runs, or ran last, as ``worker name/slot``."""
    reason_class: Reason | None = None
    reason: str = ""
    error: str = ""
    """The program's traceback, when it has failed with one."""
    stop: StopRequest | None = None
    iterations: int = 0
    """Distinct iterations reported for the first objective metric by the current attempt."""
    last_iteration: int = -1
    """The highest of them; -1 while there is none."""
    resumed: int | None = None
    """Iteration of the checkpoint from which the current attempt went on; None for none."""
    handed_back: int = 0
    """Attempts that ended because their worker shut down in an orderly way: they don't count as lost."""
    earlier: tuple[EarlierAttempt, ...] = ()
    """The attempts before the current one, the oldest first, as far as they are known."""
    tags: tuple[str, ...] | None = None
    """All its tags, once a person has changed them; None while they are its spec's, which may be signed."""
    note: str = ""
    """What a person has written about it."""

    @property
    def all_tags(self) -> tuple[str, ...]:
        return self.spec.tags if self.tags is None else self.tags

    @property
    def seed(self) -> int:
        """What the task's program is to seed its random numbers with: the same for each attempt."""
        return derived_seed(self.id) if self.spec.seed is None else self.spec.seed

    @property
    def is_searched(self) -> bool:
        """Whether its study's search counts and ranks it."""
        return bool(self.study) and not self.spec.confirms

    @property
    def used_iterations(self) -> int:
        """What counts against its limit and the budget: how many, or their highest number if that is more."""
        return max(self.iterations, self.last_iteration)

    @property
    def spent_attempts(self) -> int:
        """Attempts that count against `TaskSpec.max_attempts`, the current one included."""
        return self.attempt - self.handed_back

    def again(self, reason: str) -> TaskRecord:
        """The record, queued for another attempt that doesn't count against `TaskSpec.max_attempts`."""
        return replace(
            self,
            status=Status.QUEUED,
            attempt=self.attempt + 1,
            handed_back=self.handed_back + 1,
            worker="",
            stop=None,
            iterations=0,
            last_iteration=-1,
            resumed=None,
            reason=reason,
        )

    def encode(self, leave_out: Container[str] = ()) -> dict[str, str | int | float]:
        """As the fields of a Redis hash. Fields that are unset are left out.

        Args:
            leave_out: names of further ones.
        """
        data: dict[str, str | int | float] = {"v": VERSION}
        for name, value in self.__dict__.items():
            if value in (None, "") or name in leave_out or (value == () and name != "tags"):
                continue
            if isinstance(value, StopRequest):
                data.update(value.to_fields())
                continue
            if isinstance(value, TaskSpec):
                if value.seed is not None:  # a field of its own: older workers refuse specs that have more
                    data["seed"] = value.seed
                value = replace(value, seed=None).encode()
            elif isinstance(value, (Status, Reason)):
                value = value.value
            elif isinstance(value, float):
                value = repr(value)
            elif isinstance(value, tuple):
                value = encode_tags(value) if name == "tags" else earlier_attempt.encode(value)
            data[name] = value
        return data

    @classmethod
    def of_task(cls, task_id: str, data: Mapping[str, str]) -> TaskRecord:
        """As `decode`, of what stands in that task's place. Raises `NewerRecord`, `RecordError`."""
        record = cls.decode(data)
        if record.id != task_id:
            raise RecordError(f"task record {task_id}: it is that of another task")
        return record

    @classmethod
    def decode(cls, data: Mapping[str, str], spec: TaskSpec | None = None) -> TaskRecord:
        """Parse a Redis hash.

        Args:
            spec: what its field says, if that is known.

        Raises:
            NewerRecord: it was written by a newer version.
            RecordError: a field is missing or malformed; the message names it.
        """
        check_version(data, "task record")
        try:
            for name in _TEXTS:
                if len(data.get(name, "")) > MAX_TEXT:
                    raise ValueError(f"field {name!r} is too long: {len(data[name])} characters")
            return cls(
                id=data["id"],
                name=data.get("name", ""),
                study=data.get("study", ""),
                project=data.get("project", ""),
                parent=data.get("parent", ""),
                trial=bounded_int(data.get("trial", -1), -1, MAX_NUMBER),
                spec=_seeded(TaskSpec.decode(data["spec"]) if spec is None else spec, data.get("seed")),
                status=Status(data["status"]),
                attempt=bounded_int(data["attempt"], 0, MAX_NUMBER),
                created_at=bounded_float(data["created_at"], 0.0, MAX_STAMP),
                queued_at=moment(data.get("queued_at")),
                started_at=moment(data.get("started_at")),
                ended_at=moment(data.get("ended_at")),
                compute_s=bounded_float(data.get("compute_s", 0.0), 0.0, MAX_STAMP),
                worker=data.get("worker", ""),
                reason_class=Reason(data["reason_class"]) if data.get("reason_class") else None,
                reason=data.get("reason", ""),
                error=data.get("error", ""),
                stop=StopRequest.decode(data.get("stop"), data.get("stop_at")),
                iterations=bounded_int(data.get("iterations", 0), 0, MAX_NUMBER),
                last_iteration=bounded_int(data.get("last_iteration", -1), -MAX_NUMBER, MAX_NUMBER),
                resumed=bounded_int(data["resumed"], 0, MAX_NUMBER) if data.get("resumed") else None,
                handed_back=bounded_int(data.get("handed_back", 0), 0, MAX_NUMBER),
                tags=decode_tags(data.get("tags")),
                note=data.get("note", ""),
                earlier=earlier_attempt.decode(data.get("earlier")),
            )
        except KeyError as error:
            raise RecordError(f"task record {data.get('id', '?'):.40}: field {error} is missing") from error
        except ValueError as error:
            raise RecordError(f"task record {data.get('id', '?'):.40}: {error}") from error


def check_version(data: Mapping[str, str], what: str) -> None:
    """Refuse a record of a newer version. Raises `NewerRecord` or `RecordError`."""
    text = data.get("v", "")
    if not re.fullmatch("[0-9]{1,9}", text):
        raise RecordError(f"{what}: field 'v' (its version) is missing or malformed: {text!r:.40}")
    if int(text) > VERSION:
        raise NewerRecord(
            f"{what}: version {text}, but this optuna-rq reads up to version {VERSION}; "
            "upgrade it on this machine (pip install -U optuna-rq)"
        )


_TEXTS = ("id", "name", "study", "project", "parent", "worker", "reason", "error", "stop", "tags", "note")
