"""The worker's daemon, its slots, and the attempts that they run.

`run_attempt` is the one function that a job on the queue can name. It stands here because its dotted name is
part of the contract with the controller (`worker.protocol.transport.ENTRY`).
"""

from __future__ import annotations

from typing import Protocol

from worker.protocol.errors import OptunaRQError


class AttemptRunner(Protocol):
    """What runs attempts in this process: its slot."""

    def run(self, task_id: str, attempt: int, token: str | None) -> None: ...


_runner: AttemptRunner | None = None


def serve_with(runner: AttemptRunner) -> None:
    """Have `run_attempt` run attempts with this slot."""
    global _runner
    _runner = runner


def run_attempt(task_id: str, attempt: int, token: str | None = None) -> None:
    """The entry function: the only one that a job on the queue can name.

    Raises:
        OptunaRQError: this process is no slot of a `worker`.
    """
    if _runner is None:
        raise OptunaRQError("run_attempt works in a slot of a `worker` process only")
    _runner.run(task_id, attempt, token)
