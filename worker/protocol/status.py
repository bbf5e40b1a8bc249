"""A task's status, why it ended, and which changes are allowed.

created ──► queued ──► in_progress ──► completed | failed | stopped
   │           │            │
   │           │            └──► queued      another attempt: the worker was lost or handed it back
   │           └──► stopped | failed
   ├──► in_progress                          a standalone program, without a queue
   └──► stopped | failed
"""

from __future__ import annotations

from enum import Enum


class Status(str, Enum):
    """Where a task is in its life; ClearML's words."""

    CREATED = "created"
    """The record exists; nobody has been asked to run it."""
    QUEUED = "queued"
    """Its job is on the queue, or about to be (a crash in between is repaired by the controller)."""
    IN_PROGRESS = "in_progress"
    """A worker holds its lease and runs the objective."""
    COMPLETED = "completed"
    """The objective ended by itself with a usable value."""
    FAILED = "failed"
    """It ended without one; the reason says why."""
    STOPPED = "stopped"
    """It was asked to stop, by a budget, the pruner or a person."""

    @property
    def is_finished(self) -> bool:
        """True for the statuses that nothing follows."""
        return self in FINISHED

    def __str__(self) -> str:
        return self.value


class Reason(str, Enum):
    """The class of reason that every `failed` and `stopped` task carries."""

    PRUNED = "pruned"
    TIME_LIMIT = "time_limit"
    ITERATION_LIMIT = "iteration_limit"
    COMPUTE_BUDGET = "compute_budget"
    USER = "user"
    STUDY_STOPPED = "study_stopped"

    OBJECTIVE_ERROR = "objective_error"
    OUT_OF_MEMORY = "out_of_memory"
    INVALID_VALUE = "invalid_value"
    WORKER_LOST = "worker_lost"
    LAUNCH_ERROR = "launch_error"

    DISK_FULL = "disk_full"
    """A disk or a quota was full: of the node, or of a folder that is the artifact store."""
    STORE_AWAY = "store_away"
    """A server that the trial needs was away, busy or full: the artifact store, Redis, Optuna's storage."""
    MACHINE_FAULT = "machine_fault"
    """The node refused what any program needs: descriptors, processes, threads, a working disk, its GPU."""

    @property
    def status(self) -> Status:
        """The status that a task ends in for this reason."""
        return Status.STOPPED if self in _STOPS else Status.FAILED

    @property
    def is_machine_fault(self) -> bool:
        """Whether the machine is to blame, so that it says nothing about the trial's parameters.

        Such an attempt is followed by another one, wherever a node is well; a task that ends so all the same
        counts neither as a failure nor for the sampler.
        """
        return self in _MACHINE_FAULTS

    def __str__(self) -> str:
        return self.value


_STOPS = frozenset(
    {
        Reason.PRUNED,
        Reason.TIME_LIMIT,
        Reason.ITERATION_LIMIT,
        Reason.COMPUTE_BUDGET,
        Reason.USER,
        Reason.STUDY_STOPPED,
    }
)

_MACHINE_FAULTS = frozenset({Reason.DISK_FULL, Reason.STORE_AWAY, Reason.MACHINE_FAULT})

FINISHED = frozenset({Status.COMPLETED, Status.FAILED, Status.STOPPED})
OPEN = tuple(status for status in Status if status not in FINISHED)
"""The statuses of a task that something may still become of."""

TRANSITIONS: dict[Status, frozenset[Status]] = {
    Status.CREATED: frozenset({Status.QUEUED, Status.IN_PROGRESS, Status.STOPPED, Status.FAILED}),
    Status.QUEUED: frozenset({Status.IN_PROGRESS, Status.STOPPED, Status.FAILED}),
    Status.IN_PROGRESS: frozenset({Status.QUEUED, Status.COMPLETED, Status.STOPPED, Status.FAILED}),
    Status.COMPLETED: frozenset(),
    Status.FAILED: frozenset(),
    Status.STOPPED: frozenset(),
}


def allowed(old: Status, new: Status) -> bool:
    """Whether a task may go from `old` to `new`."""
    return new in TRANSITIONS[old]
