"""What the trials that no log tells of have cost: an older version ran them, and a newer one went on."""

from __future__ import annotations

import json

from optuna.trial import FrozenTrial, TrialState

from controller.insight.replay_budget import Charge, ReplayBudget
from controller.insight.replay_record import Recorded
from controller.loop.verdicts import told_of
from controller.search.decision_log import ASKED, BEGUN
from controller.search.trial_snapshot import SNAPSHOT
from worker.protocol import TaskSpec
from worker.protocol.copies import TaskCopy
from worker.protocol.errors import RecordError


class Unlogged:
    """The ended trials that the log of a study knows nothing of, by the copies of their tasks."""

    def __init__(self, recorded: Recorded) -> None:
        logged = {decision.trial for decision in recorded.decisions}
        self.values: dict[int, list[float]] = {}
        """Trial → its values; of those that completed."""
        self._charges: dict[int, Charge] = {}
        for trial in recorded.trials:
            if trial.number in logged or not trial.state.is_finished():
                continue
            if trial.state is TrialState.COMPLETE and trial.values is not None:
                self.values[trial.number] = list(trial.values)
            if (charge := _charge(trial)) is not None:
                self._charges[trial.number] = charge
        self.count = len(self._charges)
        """How many they are."""
        self._begun = _first_after(recorded)

    def charge(self, budget: ReplayBudget, n: int) -> None:
        """Charge those that were there when a controller began, each once.

        Args:
            n: place in the log of that beginning.
        """
        first = self._begun[n]
        for number in [number for number in self._charges if first is None or number < first]:
            budget.end(number, self._charges.pop(number))


def _first_after(recorded: Recorded) -> dict[int, int | None]:
    """Place of each beginning → the first trial that was asked for from then on; None for none."""
    found: dict[int, int | None] = {}
    first: int | None = None
    for decision in reversed(recorded.decisions):
        if decision.kind == ASKED and decision.trial is not None:
            first = decision.trial
        elif decision.kind == BEGUN:
            found[decision.n] = first
    return found


def _charge(trial: FrozenTrial) -> Charge | None:
    """What a trial's task cost; None for a trial without one, or with a copy that can't be read."""
    try:
        data = json.loads(trial.system_attrs[SNAPSHOT])
        record = TaskCopy.from_dict({"record": {**data["record"], "spec": TaskSpec().encode()}}).record
    except (KeyError, TypeError, ValueError, RecordError):
        return None
    return Charge.of(told_of(record))
