"""What repeats with other seeds say of a study's best, as values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, kw_only=True)
class Measure:
    """What repeats say of one configuration by one objective, in the objective's own unit."""

    metric: str
    shown: float | None
    """What it had in the search, for which it was chosen."""
    mean: float | None
    low: float | None
    high: float | None
    """An interval for the mean; those of all configurations hold together with 95 % probability."""
    deviation: float | None
    """Of single repeats."""
    advantage: float | None
    """How much better it had seemed than its mean is; below 0 where it had seemed worse."""

    @property
    def was_lucky(self) -> bool:
        """Whether it had seemed better than all of the interval."""
        if self.advantage is None or self.low is None or self.high is None or self.shown is None:
            return False
        return self.advantage > 0 and not self.low <= self.shown <= self.high


@dataclass(frozen=True, kw_only=True)
class Confirmed:
    """One configuration."""

    task: str
    """Id of the task of the search."""
    trial: int
    place: int
    """In the search, from 1."""
    parameters: Mapping[str, Any]
    repeats: int
    """With a result."""
    failed: int
    open: int
    """Queued or running."""
    measures: tuple[Measure, ...]
    probability: float | None
    """Of being the best; None while nothing is known."""
    dropped: str
    """Why it gets no more repeats; empty for one that was compared to the end."""
    tasks: tuple[str, ...]
    """Ids of the tasks that confirm it."""


@dataclass(frozen=True, kw_only=True)
class Confirmation:
    """A study's best, confirmed as far as it goes."""

    study: str
    k: int
    seeds: int
    trials: int
    """How many results they were chosen from."""
    configurations: tuple[Confirmed, ...] = ()
    """The most likely best first."""
    ended: str = ""
    """Why it has ended; empty while it goes on, or waits for the next `controller confirm`."""
    least: int = 0
    """Repeats to come at least."""
    most: int = 0
    """Repeats to come at most."""
    words: tuple[str, ...] = ()
    """The answer in sentences."""
    expected_luck: float | None = None
    """How much the best of `trials` equally good results shows above its mean by luck alone."""
    objectives: tuple[str, ...] = ()

    @property
    def is_known(self) -> bool:
        """Whether any repeat has a result."""
        return any(one.repeats for one in self.configurations)

    def as_dict(self) -> dict[str, Any]:
        """As JSON types."""
        return {
            "study": self.study,
            "k": self.k,
            "seeds": self.seeds,
            "chosen_from": self.trials,
            "ended": self.ended,
            "repeats_to_come": {"least": self.least, "most": self.most},
            "expected_luck": self.expected_luck,
            "objectives": list(self.objectives),
            "configurations": [_as_dict(one) for one in self.configurations],
            "words": list(self.words),
        }


def _as_dict(one: Confirmed) -> dict[str, Any]:
    return {
        "task_id": one.task,
        "trial": one.trial,
        "place": one.place,
        "hyper_parameters": dict(one.parameters),
        "repeats": one.repeats,
        "failed": one.failed,
        "open": one.open,
        "probability_best": one.probability,
        "dropped": one.dropped,
        "tasks": list(one.tasks),
        "objectives": {
            measure.metric: {
                "mean": measure.mean,
                "interval": None if measure.low is None else [measure.low, measure.high],
                "deviation": measure.deviation,
                "shown": measure.shown,
                "advantage": measure.advantage,
                "was_lucky": measure.was_lucky,
            }
            for measure in one.measures
        },
    }
