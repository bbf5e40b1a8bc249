"""What confirms the best of a study: tasks that run their parameters again, and what was asked for."""

from __future__ import annotations

import json
import logging
from dataclasses import asdict, dataclass
from typing import Any

from worker.protocol import keys
from worker.protocol.bounds import MAX_NUMBER, MAX_STAMP, bounded_float, bounded_int

log = logging.getLogger(__name__)

MOST = 1000
"""Configurations that can be confirmed, and repeats of one."""


@dataclass(frozen=True, kw_only=True)
class ConfirmPlan:
    """What was asked for."""

    k: int
    """How many of the best."""
    seeds: int
    """Most repeats of each, with a seed each."""
    of: tuple[str, ...]
    """Ids of the tasks whose parameters are run again, the best first."""
    trials: int = 0
    """How many results they were chosen from."""
    used_s: float = 0.0
    """How long controllers have worked on it, in seconds."""
    ended: str = ""
    """Why it has ended; empty while it has not."""

    def encode(self) -> str:
        return json.dumps(asdict(self), separators=(",", ":"))

    @classmethod
    def decode(cls, text: str) -> ConfirmPlan:
        """Raises `ValueError`, `TypeError`, `KeyError` for what is no plan."""
        data = json.loads(text)
        return cls(
            k=bounded_int(data["k"], 1, MOST),
            seeds=bounded_int(data["seeds"], 1, MOST),
            of=tuple(str(one) for one in data["of"])[:MOST],
            trials=bounded_int(data.get("trials", 0), 0, MAX_NUMBER),
            used_s=bounded_float(data.get("used_s", 0.0), 0.0, MAX_STAMP),
            ended=str(data.get("ended", "")),
        )


class Confirmations:
    """Reads and writes what confirms a study's best. Thread-safe as far as the client is."""

    def __init__(self, client: Any) -> None:
        self._redis = client

    def tasks(self, study: str) -> list[str]:
        """Ids of the tasks that confirm, the first one first. `Studies.tasks` doesn't have them."""
        ids: list[str] = self._redis.zrange(keys.study_confirmations(study), 0, -1)
        return ids

    def plan(self, study: str) -> ConfirmPlan | None:
        """What was asked for; None where nothing was, or what stands there can't be read."""
        text = self._redis.get(keys.confirm_plan(study))
        if not text:
            return None
        try:
            return ConfirmPlan.decode(text)
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            log.warning("study %s: what was to be confirmed is passed over: %.200s", study, error)
            return None

    def save(self, study: str, plan: ConfirmPlan) -> None:
        self._redis.set(keys.confirm_plan(study), plan.encode())
