"""What a loop is made from, and what its parts are handed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from controller.loop.backend import Backend
from controller.loop.budget import Budget
from controller.loop.observer import Observer
from controller.loop.state import Hooks, LoopSettings, LoopState, Requests
from controller.search.objective import Objective
from controller.search.search import Search


class StudyLease(Protocol):
    """The right to act on a study."""

    @property
    def held(self) -> bool:
        """Whether acting is safe now."""

    @property
    def lost(self) -> bool:
        """Another controller has it, for good."""


@dataclass(frozen=True, kw_only=True)
class LoopContext:
    """What a loop is made from."""

    base_task_id: str
    """The task that jobs are made from."""
    backend: Backend
    objective: Objective
    budget: Budget
    settings: LoopSettings
    state: LoopState
    requests: Requests
    search: Search | None
    """None for a class that creates its own jobs."""
    observer: Observer
    lease: StudyLease | None
    hooks: Hooks

    @property
    def of_a_subclass(self) -> bool:
        """Whether a class that is not ours does the steps."""
        return type(self.hooks).__module__.partition(".")[0] != "controller"
