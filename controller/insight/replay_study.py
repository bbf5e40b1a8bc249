"""The study of a replay: a fresh one in memory, that goes the way of the recorded one."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

import optuna
from optuna.trial import FrozenTrial, TrialState

from controller.insight.replay_record import Recorded
from controller.search.decision_log import ASKED, REPORTED
from controller.search.retries import once_more
from controller.search.search import Search
from controller.search.tried import FIXED
from worker.optuna_internals import storage_of, study_id
from worker.trials.storage import quietly


class ReplayStudy:
    """Takes a recorded study's asks, reports and ends by the search that the controller uses.

    Trials have the numbers that they had, except where another program has added some meanwhile.
    """

    def __init__(self, recorded: Recorded) -> None:
        with quietly():
            self.study = optuna.create_study(
                storage=optuna.storages.InMemoryStorage(),
                study_name=recorded.name or recorded.record.name,
                directions=list(recorded.directions),
                sampler=optuna.samplers.RandomSampler(seed=0),
                pruner=optuna.pruners.NopPruner(),
            )
        self._recorded = recorded
        self._search = Search(self.study, recorded.parameters or [], allow_duplicates=True)
        self._numbers: dict[int, int] = {}
        """A trial's number in the record → its number here."""
        self._next = 0
        """Trials of the record below this number were looked at."""
        self._logged = {decision.trial for decision in recorded.decisions}
        self._asked = {decision.trial for decision in recorded.decisions if decision.kind == ASKED}
        self._reports = {
            (decision.trial, decision.why["step"])
            for decision in recorded.decisions
            if decision.kind == REPORTED
        }

    def rename(self, name: str) -> None:
        """The study has another name from now on: it was imported under it."""
        self.study.study_name = name

    def catch_up(self, number: int) -> Iterator[FrozenTrial]:
        """Create what was there before trial `number` and is not in the log: copied, or of an older version.

        Yields:
            Each of them as it was recorded.
        """
        while self._next < number:
            trial = self._recorded.trials[self._next]
            self._next += 1
            if trial.number in self._asked or trial.state is TrialState.WAITING:
                continue
            if trial.state.is_finished() and trial.number not in self._logged:
                self._create(trial)
            else:
                self._take_up(trial)
            yield trial

    def ask(self, recorded: FrozenTrial, *, given: bool = False) -> dict[str, Any]:
        """Ask for a trial as the controller did; returns Optuna's name → value.

        Args:
            given: its parameters are those that were recorded, whatever the sampler.
        """
        fixed = recorded.params if given else recorded.system_attrs.get(FIXED)
        if fixed is not None:
            self.study.add_trial(once_more(fixed, {} if given else recorded.system_attrs))
        asked = self._search.ask()
        assert asked is not None
        self._numbers[recorded.number] = asked.number
        return dict(self._trial(asked.number).params)

    def _take_up(self, recorded: FrozenTrial) -> None:
        """Have a trial run that an older version asked for, and had told some values of."""
        self.ask(recorded, given=True)
        for step, value in sorted(recorded.intermediate_values.items()):
            if (recorded.number, step) not in self._reports:
                self.report(recorded.number, step, value, 0)

    def _create(self, recorded: FrozenTrial) -> None:
        storage = storage_of(self.study)
        created = storage.create_new_trial(study_id(self.study), template_trial=recorded)
        self._numbers[recorded.number] = storage.get_trial_number_from_id(created)

    def knows(self, number: int) -> bool:
        """Whether a trial of the record is here."""
        return number in self._numbers

    def report(self, number: int, step: int, value: float, least: int) -> bool:
        """As `Search.report`, by the number in the record."""
        return self._search.report(self._numbers[number], step, value, least=least)

    def tell(self, number: int, recorded: FrozenTrial) -> str | None:
        """Tell a trial as recorded; returns how it has ended otherwise, None where it is the same."""
        here = self._numbers[number]
        complete = recorded.state is TrialState.COMPLETE
        constraints = [recorded.constraints[key] for key in sorted(recorded.constraints, key=int)]
        told = self._search.tell(
            here, recorded.state, recorded.values if complete else None, constraints or None
        )
        if not told:
            return "it was told before"
        found = self._trial(here)
        if found.state is recorded.state and _same(found.values, recorded.values):
            return None
        return f"{found.state.name} {found.values}"

    def end(self, number: int, state: TrialState, values: Sequence[float] | None = None) -> None:
        """Tell a trial otherwise than recorded."""
        self._search.tell(self._numbers[number], state, values)

    def _trial(self, number: int) -> FrozenTrial:
        return self.study.get_trials(deepcopy=False)[number]


def _same(one: Sequence[float] | None, other: Sequence[float] | None) -> bool:
    if one is None or other is None:
        return one is other
    return len(one) == len(other) and all(
        a == b or (math.isnan(a) and math.isnan(b)) for a, b in zip(one, other, strict=True)
    )
