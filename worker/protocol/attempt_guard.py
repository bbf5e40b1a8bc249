"""Which attempt may still write. Others are stale, and are refused."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from worker.protocol import keys
from worker.protocol.errors import NoSuchTask, StaleAttempt
from worker.protocol.status import Status
from worker.protocol.stop_request import StopRequest
from worker.protocol.transaction import compare_and_set

GUARD = ("status", "attempt", "stop", "stop_at", "worker")
"""Fields of a task's record that `check_holder` looks at."""


def check_holder(task_id: str, guard: Iterable[str | None], attempt: int, worker: str) -> StopRequest | None:
    """Check that the slot `worker` still holds the task for `attempt`.

    Args:
        guard: the values of the record's `GUARD` fields, in that order.

    Returns:
        The task's stop request, if it has one.

    Raises:
        StaleAttempt: another attempt is current, another slot has the task, or it has ended.
    """
    status, current, stop, stop_at, holder = guard
    if current is None or int(current) != attempt:
        raise StaleAttempt(f"task {task_id}: attempt {attempt} is over, attempt {current} is current")
    if status != Status.IN_PROGRESS.value or holder != worker:
        raise StaleAttempt(f"task {task_id}: attempt {attempt} is {status} (worker {holder or '-'})")
    return StopRequest.decode(stop, stop_at)


def change_in_attempt(
    client: Any, task_id: str, attempt: int | None, what: str, commands: Callable[[Any], object]
) -> list[Any]:
    """Write for a task while it is at an attempt.

    Args:
        attempt: the writer's attempt; None for a caller outside a worker, who may write at any time.
        what: subject and verb of the refusal, such as ``its output is`` (… refused).
        commands: adds commands to the transaction, given its pipeline.

    Returns:
        The answers to the commands.

    Raises:
        StaleAttempt: another attempt is current.
        NoSuchTask: the task has no record.
    """
    key = keys.task(task_id)

    def change(pipe: Any, current: str | None) -> None:
        if current is None:
            raise NoSuchTask(f"task {task_id} has no record (deleted?)")
        if attempt is not None and int(current) != attempt:
            raise StaleAttempt(f"task {task_id}: attempt {attempt} is over; {what} refused")
        pipe.multi()
        commands(pipe)

    return compare_and_set(client, key, ("HGET", key, "attempt"), change)[1]
