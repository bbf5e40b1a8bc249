"""What the log of decisions keeps of the settings by which a controller decides."""

from __future__ import annotations

from typing import Any

import optuna

from controller.loop.changes import limits
from controller.loop.context import LoopContext
from worker import __version__
from worker.protocol import StudyRecord


def logged_settings(context: LoopContext, record: StudyRecord | None) -> dict[str, Any]:
    """The settings by name, as JSON types: limits by key of ``[budget]`` (times in seconds), versions, the
    study's name, and what the search is made with.

    Args:
        record: the study's.
    """
    search, budget = context.search, context.budget
    rules = [str(rule) for rule in context.settings.stop_when]
    return {
        "study": context.state.study,
        "version": __version__,
        "optuna": optuna.__version__,
        "budget": {
            **limits(budget),
            "max_iterations": budget.max_iteration_per_job,
        },
        **({"stop_when": rules} if rules else {}),
        "since": record.budget_since if record is not None else 0.0,
        **(search.settings if search is not None else {}),
    }
