"""Makes jobs: the class, name, parent and limits that a search's jobs have in common."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields
from typing import Any

from controller.loop.backend import Backend
from controller.loop.budget import Budget
from controller.loop.job import Job, Keeper
from controller.loop.state import LoopSettings, LoopState
from controller.search.objective import Objective
from worker.protocol import TaskSpec
from worker.protocol.errors import BadInput
from worker.protocol.nearest import nearest

_SHOWN_CHARS = 60
"""Of one value, in a job's name: a list may be long."""

Naming = Callable[[str, dict[str, Any]], str]
"""``(base task's name, parameters) -> name`` of a job's task."""


class JobFactory:
    """Makes the jobs of one search. What it is set to counts for the next job."""

    def __init__(
        self, backend: Backend, state: LoopState, objective: Objective, budget: Budget, settings: LoopSettings
    ) -> None:
        self._backend = backend
        self._state = state
        self._objective = objective
        self._budget = budget
        self._settings = settings
        self.job_class: type[Job] = Job
        self.parent: str | None = None
        """Id of the jobs' parent task; by default the base task."""
        self.project: str | None = None
        """Of the jobs' tasks; by default the base task's."""
        self.naming: Naming | None = None
        self.keeper: Keeper | None = None
        """Of the jobs, while a loop runs."""

    def create(
        self,
        base_task_id: str,
        parameter_override: Mapping[str, Any] | None = None,
        task_overrides: Mapping[str, Any] | None = None,
        tags: Sequence[str] | None = None,
        parent: str | None = None,
        **kwargs: Any,
    ) -> Job:
        """A job, not launched yet; see `SearchStrategy.helper_create_job`."""
        _refuse_unknown_fields(task_overrides or {})
        base = self._backend.base_task(base_task_id)
        parameters = dict(parameter_override or {})
        job = self.job_class(
            base_task_id,
            parameter_override=parameters,
            task_overrides={**self._common(), **(task_overrides or {})},
            tags=tags,
            parent=parent or self.parent,
            backend=self._backend,
            name=(self.naming or default_name)(base.name, parameters),
            project=self.project or base.project,
            study=self._state.study,
            **kwargs,
        )
        job.keeper = self.keeper
        return job

    def _common(self) -> dict[str, Any]:
        """The fields of a task's specification that the search sets."""
        minutes = self._budget.time_per_trial.limit
        return {
            "metrics": self._objective.metrics,
            "constraints": self._settings.constraints,
            "queue": self._state.queue,
            "time_limit_s": None if minutes is None else minutes * 60,
            "max_iterations": self._budget.max_iteration_per_job,
            "lease_s": self._settings.lease_s,
            "max_attempts": self._settings.max_attempts,
            "retry_on": self._settings.retry_on,
            "artifacts": self._backend.artifacts_url,
        }


def default_name(base: str, parameters: Mapping[str, Any]) -> str:
    """``base: lr=0.01 layers=3``."""
    shown = " ".join(f"{name}={_short(value)}" for name, value in parameters.items())
    return f"{base}: {shown}" if shown else base


def _short(value: Any) -> str:
    text = f"{value:.4g}" if isinstance(value, float) else str(value)
    return text if len(text) <= _SHOWN_CHARS else f"{text[: _SHOWN_CHARS - 1]}…"


_FIELDS = {field.name for field in fields(TaskSpec)}


def _refuse_unknown_fields(overrides: Mapping[str, Any]) -> None:
    for name in overrides:
        if name not in _FIELDS:
            near = nearest(name, _FIELDS)
            hint = f"did you mean {near!r}?" if near else f"there are {', '.join(sorted(_FIELDS))}"
            raise BadInput(f"task_overrides: a task has no {name!r}; {hint}")
