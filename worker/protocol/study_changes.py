"""What people change of a study while it runs: limits of its budget, configurations to be tried.

Both stand in Redis until the study's controller takes them over, however long that takes; edits of the budget
stay there, so that they also hold after a restart. Redis' rules keep workers from these keys.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from worker.protocol import keys
from worker.protocol.event_stream import emit
from worker.protocol.events import Event, EventKind

log = logging.getLogger(__name__)

CHANGED = "changed"
"""The request that has a controller look at what was changed."""


@dataclass(frozen=True, kw_only=True)
class BudgetEdit:
    """One limit of a study's budget, as a person has set it."""

    limit: float | None
    """The limit, times in seconds; None for none."""
    instead_of: float | None
    """The limit that the study was started with when it was edited; with another one, the edit is over."""
    by: str = ""
    at: float = 0.0
    """Seconds since the epoch."""


@dataclass(frozen=True, kw_only=True)
class Given:
    """A configuration that waits to be tried."""

    parameters: Mapping[str, Any]
    """Name → the program's value."""
    by: str = ""
    raw: str = ""
    """As it stands in Redis."""


class StudyChanges:
    """Reads and writes what people change. Thread-safe as far as the client is."""

    def __init__(self, client: Any) -> None:
        self._redis = client

    # The budget

    def edits(self, study: str) -> dict[str, BudgetEdit]:
        """Name of the limit → how it was edited. What can't be read is passed over."""
        found = {}
        for name, text in self._redis.hgetall(keys.budget_edits(study)).items():
            try:
                found[name] = BudgetEdit(**json.loads(text))
            except (ValueError, TypeError) as error:
                log.warning("study %s: the edit of %s is passed over: %s", study, name, error)
        return found

    def edit(self, study: str, edits: Mapping[str, BudgetEdit], undo: Iterable[str] = ()) -> None:
        """Write edits, take others back, and wake the study's controller."""
        with self._redis.pipeline() as pipe:
            if edits:
                written = {name: json.dumps(asdict(edit)) for name, edit in edits.items()}
                pipe.hset(keys.budget_edits(study), mapping=written)
            for name in undo:
                pipe.hdel(keys.budget_edits(study), name)
            _wake(pipe, study)
            pipe.execute()

    def forget_edits(self, study: str, names: Iterable[str]) -> None:
        """Drop edits that hold no more."""
        for name in names:
            self._redis.hdel(keys.budget_edits(study), name)

    # Configurations

    def give(self, study: str, parameters: Mapping[str, Any], by: str) -> int:
        """Have the study's controller try a configuration next. Returns how many wait."""
        with self._redis.pipeline() as pipe:
            pipe.rpush(keys.given(study), json.dumps({"parameters": dict(parameters), "by": by}))
            _wake(pipe, study)
            return int(pipe.execute()[0])

    def given(self, study: str) -> list[Given]:
        """The configurations that wait, the first one first. What can't be read is dropped."""
        found = []
        for raw in self._redis.lrange(keys.given(study), 0, -1):
            try:
                about = json.loads(raw)
                found.append(
                    Given(parameters=dict(about["parameters"]), by=str(about.get("by", "")), raw=raw)
                )
            except (ValueError, TypeError, KeyError, AttributeError) as error:
                log.warning("study %s: a configuration is passed over: %s", study, error)
                self._redis.lrem(keys.given(study), 1, raw)
        return found

    def taken(self, study: str, given: Given) -> None:
        """A configuration stands in Optuna's storage now, or can't be tried: it waits no longer."""
        self._redis.lrem(keys.given(study), 1, given.raw)


def _wake(pipe: Any, study: str) -> None:
    emit(pipe, study, Event(kind=EventKind.CONTROL, data={"request": CHANGED}))
