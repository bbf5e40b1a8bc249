"""The sections of a sweep and their fields: shapes and types only.

`checks` covers what the values mean together (a `low` above its `high`, a study without an end). A `Sweep`
comes from `load_sweep` or `parse_sweep`, which do both; everything in it is frozen, lists are tuples, and
durations are in seconds.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, ClassVar, Literal

from pydantic import BeforeValidator, Field

from controller.sweep.fields import (
    AnyValue,
    Duration,
    Number,
    Positive,
    Price,
    Section,
    Texts,
    When,
    Whole,
    one_or_more,
    split_words,
    to_size,
    to_tuple,
)
from controller.sweep.values import Value

RetriedReason = Literal["objective_error", "out_of_memory", "invalid_value", "launch_error", "worker_lost"]
Goal = Literal["minimize", "maximize"]
ObjectiveKind = Literal["function", "script", "command", "optuna"]
OBJECTIVE_KINDS: tuple[ObjectiveKind, ...] = ("function", "script", "command", "optuna")


class Metric(Section):
    """A value that the study optimizes: `title/series`, and which way is better."""

    name: str
    goal: Goal


class Constraint(Section):
    """A metric that must stay at or below `max`, or at or above `min`, for a task to rank: exactly one."""

    name: str
    max: Number | None = None
    min: Number | None = None


class StudySection(Section):
    """`[study]`.

    Attributes:
        metrics: one or several, in the file's order; the key in the file is `metric`.
        constraints: limits that a task must keep in order to rank.
        start_from: an older study of the same storage, whose trials the sampler starts with.
        allow_duplicates: run the same parameters again when the sampler asks for them.
        on_nan: what becomes of a trial whose objective is reported as not a number, where the pruner lets it
            go on; None leaves it to the pruner, and is "fail" without one.
        report: a file that a report is written to at the end, relative to the current folder; its name ends
            in .html or .md.
    """

    name: str
    metrics: tuple[Metric, ...] = Field(alias="metric")
    project: str | None = None
    constraints: tuple[Constraint, ...] = ()
    start_from: str | None = None
    allow_duplicates: bool = False
    on_nan: Literal["fail", "prune", "ignore"] | None = None
    report: str | None = None

    def to_dict(self) -> dict[str, Any]:
        metrics = [{"name": metric.name, "goal": metric.goal} for metric in self.metrics]
        rest = super().to_dict()
        return {**rest, "metric": metrics[0] if len(metrics) == 1 else metrics}


class ObjectiveSection(Section):
    """`[objective]`: what a task runs. Exactly one of the four kinds is set.

    Attributes:
        function: `module:name` of a function that takes the parameters.
        script: path of a Python script, relative to the current folder.
        args: arguments for the script.
        command: a program and its arguments, with `{name}` placeholders (see `worker.protocol.command`).
        optuna: `module:name` of a function that takes an Optuna trial.
        env: environment variables for the objective.
        reuse: keep the process of a function for the next trials.
        reuse_limit: trials after which it is replaced.
    """

    function: str | None = None
    script: str | None = None
    args: Texts = ()
    command: Annotated[tuple[str, ...] | None, BeforeValidator(split_words)] = None
    optuna: str | None = None
    env: dict[str, str] = Field(default_factory=dict)
    reuse: bool = False
    reuse_limit: Positive | None = None

    @property
    def kinds(self) -> tuple[ObjectiveKind, ...]:
        """The kinds that are set: exactly one in a checked sweep."""
        return tuple(kind for kind in OBJECTIVE_KINDS if getattr(self, kind) is not None)

    @property
    def kind(self) -> ObjectiveKind:
        """Which of the four this objective is."""
        return self.kinds[0]


class FloatParameter(Section):
    """A number in [low, high]; with `log`, searched on a log scale; with `step`, on a grid from low.

    `when`, here and in the other kinds, is `{parameter: (value, …)}`: a trial has this parameter only if
    every parameter named there is in the trial with one of its values. None is no condition.
    """

    type: Literal["float"] = "float"
    low: Number
    high: Number
    log: bool = False
    step: Number | None = None
    when: When | None = None

    def to_dict(self) -> dict[str, Any]:
        return {"type": self.type, **super().to_dict()}


class IntParameter(Section):
    """A whole number in [low, high], every `step` from low; with `log`, searched on a log scale."""

    type: Literal["int"] = "int"
    low: Whole
    high: Whole
    log: bool = False
    step: Whole = 1
    when: When | None = None

    def to_dict(self) -> dict[str, Any]:
        return {"type": self.type, **super().to_dict()}


class ChoiceParameter(Section):
    """One of several values of any JSON type, without an order; a constant is a choice of one."""

    choices: Annotated[tuple[AnyValue, ...], BeforeValidator(to_tuple)]
    when: When | None = None


Parameter = FloatParameter | IntParameter | ChoiceParameter


class SamplerSection(Section):
    """`[sampler]`: keys other than `type` and `seed` are the sampler's own and stand in `options`."""

    type: str = "tpe"
    seed: Annotated[Whole, Field(ge=0, le=2**32 - 1)] | None = None
    options: dict[str, Any] = Field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        seed = {} if self.seed is None else {"seed": self.seed}
        return {"type": self.type, **seed, **self.options}


class PrunerSection(Section):
    """`[pruner]`: keys other than `type` are the pruner's own and stand in `options`."""

    type: str
    options: dict[str, Any] = Field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        return {"type": self.type, **self.options}


class BudgetSection(Section):
    """`[budget]`: what the study may use; None is no limit.

    Attributes:
        max_trials: trials in all (ClearML's `total_max_jobs`).
        max_iterations: iterations of one trial (`max_iteration_per_job`).
        min_iterations: iterations that a trial gets before it may be stopped early.
        max_concurrent: tasks at once.
        time_per_trial_s: seconds that one trial may run; `time_per_trial` in the file, likewise the next two.
        total_compute_s: seconds summed over all attempts.
        wall_clock_s: seconds from the study's start.
        max_failures: failed trials after which the study ends.
        first_failures: the study ends when its first so many trials have all failed alike; 0 for never.
        max_attempts: executions of one trial; those that a stopping worker handed back don't count.
        retry_on: classes of failures after which a trial is tried again, besides a lost worker.
        lease_s: seconds of silence after which a worker or controller counts as lost; `lease` in the file.
        stop_when: the study ends when one of these holds, see `controller.sweep.stop_rules`.
    """

    max_trials: Positive | None = None
    max_iterations: Positive | None = None
    min_iterations: Annotated[Whole, Field(ge=0)] | None = None
    max_concurrent: Positive | None = None
    time_per_trial_s: Duration | None = Field(default=None, alias="time_per_trial")
    total_compute_s: Duration | None = Field(default=None, alias="total_compute")
    wall_clock_s: Duration | None = Field(default=None, alias="wall_clock")
    max_failures: Positive | None = None
    first_failures: Annotated[Whole, Field(ge=0)] = 10
    max_attempts: Positive = 3
    retry_on: Annotated[tuple[RetriedReason, ...], BeforeValidator(to_tuple)] = ()
    lease_s: Annotated[Duration, Field(ge=1)] = Field(default=15.0, alias="lease")
    stop_when: Annotated[tuple[str, ...], BeforeValidator(one_or_more)] = ()

    ENDING: ClassVar[tuple[str, ...]] = ("max_trials", "wall_clock", "total_compute", "stop_when")


class QueueSection(Section):
    """`[queue]`: where the jobs go."""

    name: str = "default"


class ArtifactsSection(Section):
    """`[artifacts]`: which artifacts are kept.

    Attributes:
        keep_top: number of best tasks that keep their artifacts; other tasks' are removed when they end.
    """

    keep_top: Positive | None = None


class CodeSection(Section):
    """`[code]`: what workers get of this machine's files.

    Attributes:
        path: a folder, relative to the current one; first on the import path of the study's tasks.
        exclude: patterns as in a .gitignore; they overrule the folder's own .gitignore files.
        max_size: bytes of all files together; a size such as "100MB" in the file.
    """

    path: str = "."
    exclude: Texts = ()
    max_size: Annotated[int, BeforeValidator(to_size)] = 100_000_000


class CostSection(Section):
    """`[cost]`: what resources cost, for `controller forecast`; in no currency unless it names one.

    Attributes:
        gpus: of one trial; by default as many as the workers have for each slot.
        cpus: of one trial.
    """

    gpu_hour: Price | None = None
    cpu_hour: Price | None = None
    slot_hour: Price | None = None
    gpus: Price | None = None
    cpus: Price | None = None
    currency: str | None = None


class ConfirmSection(Section):
    """`[confirm]`: the best are run again when the search has ended.

    Attributes:
        k: how many of them.
        seeds: most repeats of each.
    """

    k: Annotated[Positive, Field(le=1000)] = 5
    seeds: Annotated[Whole, Field(ge=2, le=1000)] = 5


@dataclass(frozen=True, kw_only=True)
class Sweep:
    """A sweep file, read and checked. `parameters` keep the file's order; treat them as read-only."""

    study: StudySection
    objective: ObjectiveSection
    parameters: Mapping[str, Parameter] = field(default_factory=dict)
    tries: tuple[Mapping[str, Value], ...] = ()
    """Known configurations that are run first: `[[try]]` in the file."""
    sampler: SamplerSection = field(default_factory=SamplerSection)
    pruner: PrunerSection | None = None
    budget: BudgetSection = field(default_factory=BudgetSection)
    queue: QueueSection = field(default_factory=QueueSection)
    artifacts: ArtifactsSection = field(default_factory=ArtifactsSection)
    code: CodeSection | None = None
    """None when workers use what is installed there."""
    cost: CostSection = field(default_factory=CostSection)
    confirm: ConfirmSection | None = None
    """None when nothing is run again."""

    @property
    def conditional_parameters(self) -> tuple[str, ...]:
        """Names of the parameters that some trials lack, because they have a `when`."""
        return tuple(name for name, parameter in self.parameters.items() if parameter.when is not None)

    def to_dict(self) -> dict[str, Any]:
        """The sweep as JSON-able tables; `parse_sweep` gives an equal Sweep back.

        The order of `parameters` carries meaning (`when` looks backwards): store it without sorting keys.
        """
        sections: dict[str, Any] = {
            "study": self.study.to_dict(),
            "objective": self.objective.to_dict(),
            "parameters": {name: parameter.to_dict() for name, parameter in self.parameters.items()},
            "try": [dict(known) for known in self.tries],
            "sampler": self.sampler.to_dict(),
            "pruner": {} if self.pruner is None else self.pruner.to_dict(),
            "budget": self.budget.to_dict(),
            "queue": self.queue.to_dict(),
            "artifacts": self.artifacts.to_dict(),
            "cost": self.cost.to_dict(),
        }
        found = {name: section for name, section in sections.items() if section}
        if self.code is not None:
            found["code"] = self.code.to_dict()  # even if all of it is at its default
        if self.confirm is not None:
            found["confirm"] = self.confirm.to_dict()
        return found

    def search_space_fingerprint(self) -> str:
        """SHA-256 (hex) of metrics, goals and parameters, as version 0.1 wrote it into records.

        Budget, sampler, pruner, queue, artifacts, code, cost and the order of the parameters don't count.
        """
        canonical = json.dumps(search_space(self.to_dict()), sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(canonical.encode()).hexdigest()


def search_space(sweep: Mapping[str, Any]) -> dict[str, Any]:
    """Metrics and parameters of a `Sweep.to_dict()`, in a form where equal search spaces are equal.

    Returns:
        `{"metrics": [{"name", "goal"}, …], "parameters": {name: table}}`.
    """
    metric = sweep["study"]["metric"]
    parameters: dict[str, Any] = {}
    for name, table in sweep.get("parameters", {}).items():
        parameters[name] = dict(table)
        if "when" in table:
            # The values of a condition are a set: their order means nothing.
            parameters[name]["when"] = {
                parent: sorted(values, key=json.dumps) for parent, values in table["when"].items()
            }
    return {"metrics": metric if isinstance(metric, list) else [metric], "parameters": parameters}
