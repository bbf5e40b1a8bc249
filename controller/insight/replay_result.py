"""What comes of a replay: identical, or the first decision that differs, with both sides."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from controller.search.decision_log import Decision

IDENTICAL, DIVERGED, UNKNOWN = "identical", "diverged", "unknown"
WHAT = {
    "parameters": "the sampler suggests other parameters",
    "pruning": "the pruner decides otherwise",
    "end": "the trial ends otherwise",
    "budget": "the budget decides otherwise",
    "record": "the record is not what was logged",
}
"""What may differ, in words."""
COMPARED = {
    "parameters": "suggestions",
    "points": "points of the search space",
    "budget": "answers of the budget",
    "pruning": "answers of the pruner",
    "reports": "checksums of reports",
    "ends": "ends",
}
"""What is compared, in words."""


@dataclass(frozen=True, kw_only=True)
class Divergence:
    """The first decision that comes out otherwise."""

    decision: Decision
    what: str
    """What differs: ``parameters``, ``pruning``, ``end``, ``record``, ``budget``."""
    recorded: Any
    """As JSON types."""
    replayed: Any

    def side(self, name: str) -> str:
        """``recorded`` or ``replayed``, for people."""
        value = getattr(self, name)
        return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)

    def as_dict(self) -> dict[str, Any]:
        found = {"n": self.decision.n, "at": self.decision.at, "kind": self.decision.kind}
        return found | {
            "trial": self.decision.trial,
            "what": self.what,
            "recorded": self.recorded,
            "replayed": self.replayed,
        }


@dataclass(frozen=True, kw_only=True)
class Replayed:
    """What came of a replay."""

    study: str
    trials: int
    decisions: int
    """Entries of the log that were replayed; of those behind a divergence none."""
    of: int
    """Entries of the log."""
    starts: int
    """How often a controller had begun or continued the study."""
    compared: Mapping[str, int]
    """What was compared → how often."""
    notes: tuple[str, ...]
    """What could not be compared, and why."""
    divergence: Divergence | None = None

    @property
    def verdict(self) -> str:
        """`IDENTICAL`, `DIVERGED`, or `UNKNOWN` where there is no log."""
        if self.divergence is not None:
            return DIVERGED
        return IDENTICAL if self.of else UNKNOWN

    def summary(self) -> str:
        """The verdict in one line for people."""
        if self.divergence is not None:
            decision = self.divergence.decision
            whose = f"trial {decision.trial}, " if decision.trial is not None else ""
            return f"diverges at decision {decision.n} ({whose}{decision.kind}): {WHAT[self.divergence.what]}"
        if self.verdict == UNKNOWN:
            return "not known"
        parts = [f"{count} {COMPARED[name]}" for name, count in self.compared.items()]
        starts = "one start" if self.starts == 1 else f"{self.starts} starts"
        return (
            f"identical over {self.decisions} decisions of {self.trials} trials and {starts} of a controller"
            + (f": {', '.join(parts)}" if parts else "")
        )

    def as_dict(self) -> dict[str, Any]:
        return {
            "study": self.study,
            "verdict": self.verdict,
            "trials": self.trials,
            "decisions": self.decisions,
            "of": self.of,
            "starts": self.starts,
            "compared": dict(self.compared),
            "notes": list(self.notes),
            "divergence": self.divergence.as_dict() if self.divergence is not None else None,
        }
