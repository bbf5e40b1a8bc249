"""A study as it was recorded, to be replayed: its trials with their log, from a storage or a study's file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from optuna.study import StudyDirection
from optuna.trial import FrozenTrial

from controller.search.decision_log import ASKED, BEGUN, PRUNED, Decision, decisions_of, settings_until
from controller.search.parameters import Parameter
from controller.search.retries import RETRY_OF
from worker.protocol import StudyRecord


@dataclass(frozen=True, kw_only=True)
class Recorded:
    """What a replay is made from."""

    record: StudyRecord
    directions: Sequence[StudyDirection]
    trials: Sequence[FrozenTrial]
    """By number, without gaps."""
    attributes: Mapping[str, Any]
    """The study's system attributes in Optuna's storage."""
    parameters: Sequence[Parameter] | None
    """What was searched; None where the record can't be read."""

    @cached_property
    def decisions(self) -> Sequence[Decision]:
        """The log. Raises `BadInput` where it can't be read."""
        return decisions_of(self.trials, self.attributes)

    @property
    def has_log(self) -> bool:
        """Whether asks were logged: a study of an older version, or of Optuna's own objectives, has none."""
        return any(decision.kind == ASKED for decision in self.decisions)

    @property
    def starts(self) -> int:
        """How often a controller has begun or continued the study, as far as the log goes."""
        return sum(decision.kind == BEGUN for decision in self.decisions)

    @property
    def retried(self) -> set[int]:
        """Numbers of the failed trials that were tried again."""
        found = (trial.system_attrs.get(RETRY_OF) for trial in self.trials)
        return {number for number in found if isinstance(number, int)}

    @property
    def pruned(self) -> set[tuple[int | None, Any]]:
        """Trial and step of each pruning."""
        return {(found.trial, found.why.get("step")) for found in self.decisions if found.kind == PRUNED}

    @property
    def settings(self) -> dict[str, Any]:
        """The settings that held at the end."""
        return settings_until(self.decisions)

    @property
    def name(self) -> str:
        """The name that the study had when it began: brackets of Hyperband depend on it."""
        first = next((found for found in self.decisions if found.kind == BEGUN), None)
        return str(first.why.get("settings", {}).get("study", "")) if first else self.record.name
