"""A request to stop a task, as it stands in the task's record."""

from __future__ import annotations

import json
from dataclasses import dataclass

from worker.protocol.errors import RecordError
from worker.protocol.status import Reason


@dataclass(frozen=True, kw_only=True)
class StopRequest:
    """A request to stop a task; the first one wins."""

    reason_class: Reason
    reason: str
    iteration: int | None = None
    """The last iteration of the objective that counts; None where all that was reported does."""

    def to_fields(self) -> dict[str, str | int]:
        """As fields of a task's record."""
        fields: dict[str, str | int] = {"stop": json.dumps([self.reason_class.value, self.reason])}
        return fields if self.iteration is None else {**fields, "stop_at": self.iteration}

    @classmethod
    def decode(cls, text: str | None, at: str | None) -> StopRequest | None:
        """The request in a record's fields ``stop`` and ``stop_at``. Raises `RecordError`."""
        if not text:
            return None
        try:
            reason_class, reason = json.loads(text)
            return cls(
                reason_class=Reason(reason_class), reason=str(reason), iteration=int(at) if at else None
            )
        except (ValueError, TypeError, RecursionError) as error:
            raise RecordError(f"task record: field 'stop' is malformed: {text!r:.300}") from error
