"""Seals of tasks outside studies: who makes one signs what it runs, so that nobody else changes that.

A base task waits in Redis until an optimizer takes it, a task of `Task.create` until it is put on a queue.
Its seal stands beside it, made with the secret of jobs.
"""

from __future__ import annotations

from collections.abc import Mapping

from worker.protocol.errors import BadInput, ForbiddenJob
from worker.protocol.record import TaskRecord
from worker.protocol.secrets import JOB_SECRET, job_secret
from worker.protocol.signature import RECORD_SIGNATURE, Signer


class Unsealed(BadInput):
    """The task has no seal at all."""


class Sealing:
    """Makes and compares seals. Thread-safe."""

    def __init__(self, secret: str) -> None:
        self._signer = Signer(secret)

    @classmethod
    def of_environment(cls) -> Sealing | None:
        """With the environment's secret; None if it has none. Raises `BadInput` for a short one."""
        secret = job_secret()
        return cls(secret) if secret else None

    def seal(self, record: TaskRecord) -> dict[str, str]:
        """The field of a task's record in Redis that holds its seal."""
        return {RECORD_SIGNATURE: self._signer.sign_record(record)}

    def check(self, record: TaskRecord, data: Mapping[str, str]) -> None:
        """Prove that a task runs what it was made to run.

        Parameters that its program has added under a worker are values, and pass.

        Args:
            data: the record as it stands in Redis.

        Raises:
            Unsealed: it has no seal.
            BadInput: it was altered, or sealed with another secret.
        """
        about = f"task {record.id} ({record.name:.100})"
        if not data.get(RECORD_SIGNATURE):
            raise Unsealed(
                f"{about}: it isn't signed, as its maker had no {JOB_SECRET} or an earlier version; make it "
                "again with that set (a script: run it once more)"
            )
        try:
            signed = self._signer.verified(data[RECORD_SIGNATURE], record)
        except ForbiddenJob as error:
            raise BadInput(f"{about}: {error}") from error
        added = record.spec.parameters.keys() - signed.spec.parameters.keys() - set(record.spec.connected)
        if added:
            raise BadInput(f"{about}: parameters were added in Redis: {', '.join(sorted(added))[:200]}")
