"""What all parts of a task share: its description, the session of the program that runs it, its Redis."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from worker.protocol.errors import BadInput, TransitionRefused
from worker.protocol.record import TaskRecord
from worker.protocol.seeds import derived_seed
from worker.protocol.status import Reason, Status
from worker.sdk.session import Session, describe

if TYPE_CHECKING:
    from worker.protocol.store import Store
    from worker.sdk.home import Home


class TaskCore:
    """Base of the parts of `Task`.

    Args:
        description: see `worker.sdk.session.describe`.
        session: where this program's reports go; None for another program's task.
        at: the Redis that the task's record is in; None where only its worker may know.
    """

    def __init__(
        self, description: Mapping[str, Any], session: Session | None = None, at: Home | None = None
    ) -> None:
        self.about = dict(description)
        """The task's description, for this library."""
        self.session = session
        """Where this program's reports go, for this library; None for another program's task."""
        self.at = at
        """The Redis that the record is in, for this library; None where only the task's worker may know."""
        self._followers: list[Any] = []
        """What reports for the task what others write, as TensorBoard's event files; each has a `stop`."""

    @property
    def id(self) -> str:
        return str(self.about["id"])

    @property
    def task_id(self) -> str:
        """The same as `id`."""
        return self.id

    @property
    def seed(self) -> int:
        """A whole number from 0 to 2³¹ - 1, for the program to seed its random numbers with.

        Each attempt of the task has the same, another task another; ``OPTUNA_RQ_SEED`` in a worker's program.
        With `[sampler] seed` in the sweep file, trial n has the same in each run of that file.
        """
        found = self.about.get("seed")
        return derived_seed(self.id) if found is None else int(found)

    def as_artifact(self) -> dict[str, Any]:
        """What `upload_artifact` stores of a task, alone or in a list, as of the best ones."""
        shown = ("id", "name", "project", "status", "parameters")
        return {key: self.about[key] for key in shown if key in self.about}

    @property
    def store(self) -> Store:
        """The records, for this library. Raises `BadInput` in a worker's program, which has no Redis."""
        if self.at is None:
            raise BadInput(f"task {self.id}: a worker's program can't look into Redis")
        return self.at.store

    def reload(self) -> None:
        """Read the task again."""
        if self.at is not None:
            record = _ended_if_lost(self.at, self.at.store.tasks.get(self.id))
            self.about.update({**describe(record), "status": record.status.value})

    def change(self, change: Callable[[TaskRecord], TaskRecord]) -> bool:
        """Change the task's record. False where only the worker may, which runs this program."""
        if self.at is None:
            return False
        record = self.at.store.tasks.edit(self.id, change)
        self.about.update({**describe(record), "status": record.status.value})
        return True

    def finish_following(self) -> None:
        """Take what TensorBoard has written until now, and look no more."""
        while self._followers:
            self._followers.pop().stop()


def _ended_if_lost(at: Home, record: TaskRecord) -> TaskRecord:
    """The record; it is ended first if its standalone program has vanished."""
    if record.study or record.status is not Status.IN_PROGRESS or at.store.tasks.leases([record.id])[0]:
        return record
    with contextlib.suppress(TransitionRefused):
        return at.store.transitions.force_finish(
            record.id, Reason.WORKER_LOST, "its program ended without saying how"
        )
    return at.store.tasks.get(record.id)
