"""What a task's end means for its trial."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from optuna.trial import TrialState

from worker.protocol import Reason, Status, TaskRecord

_PARTIAL = (Reason.PRUNED, Reason.TIME_LIMIT, Reason.COMPUTE_BUDGET, Reason.USER)


def trial_state(
    record: TaskRecord, values: Sequence[float] | None
) -> tuple[TrialState, Sequence[float] | None]:
    """The trial's state, and its values where it has any.

    A task that used up its iterations is a result like any other. One cut short otherwise is a pruned
    trial, from which samplers learn what it reached, or a failed one where it had nothing to show.
    """
    if record.status is Status.COMPLETED:
        return TrialState.COMPLETE, values
    if record.reason_class is Reason.PRUNED and len(record.spec.metrics) == 1:
        return TrialState.PRUNED, None  # as Optuna has it, also where nothing finite was reported
    if record.status is Status.STOPPED and values is not None:
        if record.reason_class is Reason.ITERATION_LIMIT:
            return TrialState.COMPLETE, values
        if record.reason_class in _PARTIAL and len(values) == 1:
            return TrialState.PRUNED, None
    return TrialState.FAIL, None


def told_of(record: TaskRecord) -> dict[str, Any]:
    """What the log keeps of an ended task: its status, class of reason, iterations and seconds.

    ``used`` is by what the budget charges: iterations used, iterations reported, seconds of all attempts.
    """
    found: dict[str, Any] = {"task": record.status.value}
    if record.reason_class is not None:
        found["class"] = record.reason_class.value
    found["used"] = [record.used_iterations, record.iterations, round(record.compute_s, 3)]
    return found
