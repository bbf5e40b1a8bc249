"""``controller replay``: feeds what a study's log has to the same sampler, pruner and budget once more.

Each recorded decision is compared with the one that comes out now, in the order of the log, up to the first
that differs. A restart is not repeated: where it has changed nothing, the replay comes out the same.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import optuna

from controller.insight.replay_budget import Charge, ReplayBudget
from controller.insight.replay_record import Recorded
from controller.insight.replay_result import Divergence, Replayed
from controller.insight.replay_sampler import ReplaySampler, pruner_of
from controller.insight.replay_study import ReplayStudy
from controller.insight.replay_unlogged import Unlogged
from controller.search.decision_log import (
    ADOPTED,
    ASKED,
    BEGUN,
    BUDGET,
    ENDED,
    LAUNCHED,
    REPORTED,
    REWOUND,
    STOPPED,
    TOLD,
    Decision,
    told_sum,
)  # fmt: skip
from controller.search.report_parts import report_sum
from worker.protocol.errors import BadInput
from worker.trials.sampler_state import MARK


def replay(recorded: Recorded) -> Replayed:
    """Replay a study.

    Raises:
        BadInput: its log can't be read.
    """
    if not recorded.has_log:
        return Replayed(
            study=recorded.record.name,
            trials=len(recorded.trials),
            decisions=0,
            of=0,
            starts=recorded.starts,
            compared={},
            notes=(without_log(recorded),),
        )
    run = _Replay(recorded)
    divergence = None
    done = 0
    for decision in recorded.decisions:
        divergence = run.take(decision)
        if divergence is not None:
            break
        done += 1
    return Replayed(
        study=recorded.record.name,
        trials=len(recorded.trials),
        decisions=done,
        of=len(recorded.decisions),
        starts=recorded.starts,
        compared=dict(run.compared),
        notes=tuple(run.notes),
        divergence=divergence,
    )


def without_log(recorded: Recorded) -> str:
    """What to say of a study whose decisions were not logged."""
    if not recorded.trials:
        return "it has no trials yet"
    return (
        f"its {len(recorded.trials)} trial(s) have no log of decisions: an earlier version ran them, or "
        "their objective takes Optuna's trial and writes to the storage itself"
    )


@dataclass
class _Replay:
    """One replay, decision by decision."""

    recorded: Recorded
    compared: Counter[str] = field(default_factory=Counter)
    notes: dict[str, None] = field(default_factory=dict)
    """In their order, each once."""

    def __post_init__(self) -> None:
        recorded = self.recorded
        self._study = ReplayStudy(recorded)
        self._sampler = ReplaySampler(self._study.study, recorded.parameters)
        self._budget = ReplayBudget()
        self._unlogged = Unlogged(recorded)
        self._settings: dict[str, Any] = {}
        self._since: Any = None
        self._has_pruner = True
        self._adopted: set[int] = set()
        """Running trials that a controller took over: their launch needs no leave of the budget."""
        self._sums: Counter[int] = Counter()
        """Trial → checksum of its reports in the present part."""
        self._pruned = recorded.pruned
        self._charges = _charges(recorded)
        self._retried = recorded.retried
        self._blind = _before_rewinds(recorded)
        self._steps: dict[str, Callable[[Decision], Divergence | None]] = {
            BEGUN: self._begun, ADOPTED: self._take_over, BUDGET: self._edited, ASKED: self._asked,
            LAUNCHED: self._launched, REPORTED: self._reported, ENDED: self._ended, TOLD: self._told,
            STOPPED: self._stopped, REWOUND: self._rewound,
        }  # fmt: skip

    def take(self, decision: Decision) -> Divergence | None:
        """Replay the next decision; what differs, or None."""
        step = self._steps.get(decision.kind)
        if step is None:  # a report has its pruning with it; others are a newer version's
            return None
        try:
            return step(decision)
        except (TypeError, ValueError, KeyError, AttributeError) as error:
            return self._differs(decision, "record", "an entry that can't be read", str(error))

    def _differs(self, decision: Decision, what: str, recorded: Any, replayed: Any) -> Divergence:
        return Divergence(decision=decision, what=what, recorded=recorded, replayed=replayed)

    def _note(self, text: str) -> None:
        self.notes[text] = None

    # Of the study

    def _begun(self, decision: Decision) -> None:
        now = {**self._settings, **decision.why.get("settings", {})}
        before, self._settings = self._settings, now
        self._study.rename(str(now.get("study", self.recorded.record.name)))
        self._sampler.use(now.get("sampler", {}))
        if not before or now.get("pruner") != before.get("pruner"):
            pruner = pruner_of(now.get("pruner", {}))
            self._has_pruner = pruner is not None
            if pruner is not None:
                self._study.study.pruner = pruner
            else:
                self._note("the program's own pruner isn't recorded: what it gave up is not compared")
        self._unlogged.charge(self._budget, decision.n)
        for number in self._retried:
            self._budget.forget(number)
        afresh = bool(before) and now.get("since") != before.get("since")
        self._budget.begin(now.get("budget", {}), afresh=afresh)
        if now.get("optuna", optuna.__version__) != optuna.__version__:
            self._note(f"recorded with Optuna {now['optuna']}, replayed with {optuna.__version__}")

    def _take_over(self, decision: Decision) -> None:
        running = decision.why.get("running", {})
        self._adopted |= set(running.get("trials", ()))

    def _edited(self, decision: Decision) -> None:
        name, limit = str(decision.why["limit"]), decision.why["to"]
        self._settings = {**self._settings, "budget": {**self._settings.get("budget", {}), name: limit}}
        self._budget.limit(name, limit)

    def _rewound(self, decision: Decision) -> None:
        self._note(
            f"the study was taken back to trial {decision.why.get('trial')}: what rested on the trials that "
            "went is not compared"
        )

    def _stopped(self, decision: Decision) -> Divergence | None:
        reason = str(decision.why.get("reason", ""))
        if not reason.endswith("trials created") or self._retried:
            return None
        verdict = self._budget.may_launch()
        self.compared["budget"] += 1
        if verdict.reason == reason:
            return None
        return self._differs(decision, "budget", reason, verdict.reason or "it goes on")

    # Of trials

    def _asked(self, decision: Decision) -> Divergence | None:
        number = decision.number
        trial = self.recorded.trials[number]
        self._catch_up(number)
        mark, given = trial.system_attrs.get(MARK), not self._sampler.can_repeat
        if given:
            self._note(f"{self._sampler.why_not()}: parameters are taken as recorded, not compared")
            self._sampler.leave(mark)
        else:
            self._sampler.ready(mark)
        try:
            found = self._study.ask(trial, given=given)
        except (ValueError, BadInput) as error:
            return self._differs(decision, "parameters", dict(trial.params), str(error))
        if not given:
            self._sampler.asked()
        if self.recorded.parameters is None:
            return None
        self.compared["points" if given else "parameters"] += 1
        if found == dict(trial.params):
            return None
        return self._differs(decision, "parameters", dict(trial.params), found)

    def _catch_up(self, number: int) -> None:
        for found in self._study.catch_up(number):
            self._sampler.leave(found.system_attrs.get(MARK))
            self._note("the log does not have all trials: the others are taken as they stand")

    def _launched(self, decision: Decision) -> Divergence | None:
        number = decision.number
        verdict = self._budget.may_launch()
        self._budget.launch(number)
        if number in self._adopted or decision.n in self._blind:
            return None
        self.compared["budget"] += 1
        return None if verdict.ok else self._differs(decision, "budget", "launched", verdict.reason)

    def _reported(self, decision: Decision) -> Divergence | None:
        number, step = decision.number, decision.why["step"]
        values = self.recorded.trials[number].intermediate_values
        if step not in values:
            return self._differs(decision, "record", f"a report at iteration {step}", "the trial has none")
        if not self._study.knows(number):
            return self._differs(decision, "record", "a report", "the trial was not asked for by then")
        self._sums[number] = report_sum(values[step], self._sums[number])
        if "sum" in decision.why:
            if decision.why["sum"] != self._sums.pop(number):
                return self._differs(
                    decision, "record", "other values", f"the values that the trial has now, up to {step}"
                )
            self.compared["reports"] += 1
        least = int(self._settings.get("budget", {}).get("min_iterations") or 0)
        gives_up = self._study.report(number, step, values[step], least)
        if not self._has_pruner or decision.n in self._blind:
            return None
        self.compared["pruning"] += 1
        recorded = (number, step) in self._pruned
        if gives_up is recorded:
            return None
        words = {True: f"given up at iteration {step}", False: f"goes on at iteration {step}"}
        return self._differs(decision, "pruning", words[recorded], words[gives_up])

    def _ended(self, decision: Decision) -> None:
        number = decision.number
        charge = self._charges.get(number)
        if charge is not None:
            self._budget.end(number, charge)

    def _told(self, decision: Decision) -> Divergence | None:
        number = decision.number
        trial, state = self.recorded.trials[number], str(decision.why["state"])
        if not self._study.knows(number):
            return self._differs(decision, "record", "an end", "the trial was not asked for by then")
        self._ended(decision)
        self.compared["ends"] += 1
        if trial.state.name != state:
            return self._differs(decision, "record", f"told as {state}", f"the trial is {trial.state.name}")
        values = trial.values if state == "COMPLETE" else None
        if "sum" in decision.why and decision.why["sum"] != told_sum(trial.params, values):
            now = {"parameters": dict(trial.params), "values": values}
            return self._differs(decision, "record", "told with other parameters or values", now)
        problem = self._study.tell(number, trial)
        return self._differs(decision, "end", _end_of(trial), problem) if problem is not None else None


def _end_of(trial: optuna.trial.FrozenTrial) -> str:
    return f"{trial.state.name} {trial.values}" if trial.values is not None else trial.state.name


def _charges(recorded: Recorded) -> dict[int, Charge]:
    """Trial → what its task costs; of the trials whose ends are in the log."""
    found = {}
    for decision in recorded.decisions:
        if decision.kind == TOLD and decision.trial is not None:
            charge = Charge.of(decision.why)
            if charge is not None:
                found[decision.trial] = charge
    return found


def _before_rewinds(recorded: Recorded) -> set[int]:
    """Places of the log at which trials were there that a rewind has removed."""
    found: set[int] = set()
    asked: dict[int, int] = {}
    for decision in recorded.decisions:
        if decision.kind == ASKED and decision.trial is not None:
            asked[decision.trial] = decision.n
        elif decision.kind == REWOUND:
            last = int(decision.why.get("trial", 0))
            found.update(range(asked.get(last, 0) + 1, decision.n))
    return found
