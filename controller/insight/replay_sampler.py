"""The sampler of a replay: made as the controller made it, from the settings that the log has."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import optuna
from optuna.pruners import BasePruner, NopPruner
from optuna.samplers import BaseSampler

from controller.search.parameters import Parameter
from controller.search.samplers import make_pruner, make_sampler, seed_after
from worker.trials.sampler_state import SamplerState
from worker.trials.storage import quietly


class ReplaySampler:
    """Keeps the study's sampler as it was at each ask.

    A restart with the same settings changes nothing here: the sampler goes on, as it would have had nobody
    stopped the controller. So what a restart has changed shows as a difference.
    """

    def __init__(self, study: optuna.Study, parameters: Sequence[Parameter] | None) -> None:
        self._study = study
        self._parameters = parameters
        self._settings: Mapping[str, Any] = {}
        self._state: SamplerState | None = None
        self._after = 0
        self._none = study.sampler
        self._last: str | None = None
        """Where the sampler stood after the last ask."""

    def use(self, settings: Mapping[str, Any]) -> None:
        """Take other settings, as ``[sampler]`` has them."""
        if settings != self._settings:
            self._settings, self._state = settings, None

    @property
    def can_repeat(self) -> bool:
        """Whether the same sampler can be made: it has a seed, and a sweep file describes it."""
        return (
            self._parameters is not None
            and "type" in self._settings
            and self._settings.get("seed") is not None
        )

    def why_not(self) -> str:
        """Why it can't; empty where it can."""
        if self.can_repeat:
            return ""
        if "type" not in self._settings:
            return "the program's own sampler isn't recorded"
        return "the sampler has no seed" if self._parameters is not None else "the search space is unknown"

    def ready(self, mark: str | None) -> None:
        """Have the study's sampler stand where it stood before it suggested a trial.

        Args:
            mark: where it stood afterwards, as the trial has it; says when it was seeded.
        """
        after = int(json.loads(mark)["after"]) if mark is not None else self._after
        if self._state is not None and after == self._after:
            self._study.sampler = self._state.sampler
            return
        self._after = after
        self._state = SamplerState(self._make(after), after)
        if self._last is not None:
            self._state.restore(self._last)
        self._study.sampler = self._state.sampler

    def asked(self) -> None:
        """The sampler has suggested a trial."""
        if self._state is not None and self._state.seeded:
            self._last = self._state.mark()

    def leave(self, mark: str | None) -> None:
        """A trial is taken as it is: the sampler goes on where it stood after it, and is not asked meanwhile.

        Args:
            mark: where that is; None where the trial doesn't tell.
        """
        if mark is not None:
            self._last, self._state = mark, None
        self._study.sampler = self._none

    def _make(self, after: int) -> BaseSampler:
        kind, seed = str(self._settings["type"]), self._settings["seed"]
        options = {name: value for name, value in self._settings.items() if name not in ("type", "seed")}
        assert self._parameters is not None
        with quietly():
            return make_sampler(kind, options, seed_after(seed, after, kind), self._parameters)


def pruner_of(settings: Mapping[str, Any]) -> BasePruner | None:
    """The pruner of ``[pruner]`` as the log has it; None where it is a program's own, which isn't recorded.

    Raises:
        BadInput: this version has no such pruner.
    """
    if not settings or settings.get("class") == "NopPruner":
        return NopPruner()
    if "type" not in settings:
        return None
    return make_pruner(
        str(settings["type"]), {name: value for name, value in settings.items() if name != "type"}
    )
