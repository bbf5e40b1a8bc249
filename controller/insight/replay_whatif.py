"""``controller replay --with``: what another pruner or budget would have made of a study.

Trials keep the parameters that they had, and report what they reported, until the other pruner or budget
ends them. What a trial would have done beyond its recorded end is not known, nor what a sampler would have
suggested after other ends: the answer says how often that matters.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from optuna.trial import TrialState

from controller.insight.replay_budget import TIMED, Charge, ReplayBudget
from controller.insight.replay_changes import Changes
from controller.insight.replay_record import Recorded
from controller.insight.replay_sampler import pruner_of
from controller.insight.replay_study import ReplayStudy
from controller.insight.replay_times import Times
from controller.insight.replay_unlogged import Unlogged
from controller.insight.replay_winner import winner_of
from controller.insight.whatif_result import EndedEarlier, Stopped, WhatIf
from controller.loop.budget import Verdict, duration
from controller.search.decision_log import (
    ASKED,
    BEGUN,
    BUDGET,
    ENDED,
    LAUNCHED,
    REPORTED,
    TOLD,
    Decision,
)
from worker.protocol import Reason, Summary
from worker.protocol.errors import BadInput

_BLIND = ("random", "qmc", "grid", "brute_force")
"""Samplers that look at no results."""


def what_if(recorded: Recorded, changes: Changes) -> WhatIf:
    """Replay a study with something changed.

    Raises:
        BadInput: its log can't be read, or this version has no such pruner.
    """
    run = _Other(recorded, changes)
    for decision in recorded.decisions:
        try:
            run.take(decision)
        except (TypeError, ValueError, KeyError, AttributeError) as error:
            raise BadInput(
                f"decision {decision.n} ({decision.kind}) can't be read: {error}; without --with, "
                "`controller replay` says whether the record was altered"
            ) from error
    return run.result()


class _Other:
    """The study as it would have gone."""

    def __init__(self, recorded: Recorded, changes: Changes) -> None:
        self._recorded = recorded
        self._changes = changes
        self._study = ReplayStudy(recorded)
        self._budget = ReplayBudget(timed=True)
        self._times = Times(recorded)
        self._unlogged = Unlogged(recorded)
        self._settings: dict[str, Any] = {}
        self._limits: dict[str, Any] = {}
        self._verdict: Verdict | None = None
        self._ended: EndedEarlier | None = None
        self._running: dict[int, Summary] = {}
        """Trial → the first objective, so far as it has reported."""
        self._stopped: dict[int, Stopped] = {}
        self._not_run: dict[int, None] = {}
        self._longer: dict[int, None] = {}
        """Trials that the recorded pruner has given up, and this one has not."""
        self._values = dict(self._unlogged.values)
        self._launches = 0
        self._learned: dict[int, int] = {}
        """Trial that a sampler which looks at results was asked for → place of that in the log."""
        self._first: int | None = None
        """Place of the first decision that comes out otherwise."""
        self._notes: dict[str, None] = {}
        self._pruned = recorded.pruned
        self._steps: dict[str, Callable[[Decision], None]] = {
            BEGUN: self._begun, BUDGET: self._edited, ASKED: self._asked, LAUNCHED: self._launched,
            REPORTED: self._reported, ENDED: self._ends, TOLD: self._told,
        }  # fmt: skip

    def take(self, decision: Decision) -> None:
        """Take the next decision of the log."""
        if decision.trial is not None and decision.kind != ASKED and self._is_over(decision.trial):
            return
        step = self._steps.get(decision.kind)
        if step is not None:
            self._look_at_limits(decision)
            step(decision)

    def _is_over(self, number: int) -> bool:
        return number in self._stopped or number in self._not_run or not self._study.knows(number)

    # Settings

    def _begun(self, decision: Decision) -> None:
        before = self._settings
        self._settings = now = {**before, **decision.why.get("settings", {})}
        pruner = now.get("pruner", {}) if self._changes.pruner is None else self._changes.pruner
        if not before or (self._changes.pruner is None and now.get("pruner") != before.get("pruner")):
            found = pruner_of(pruner)
            if found is None:
                self._notes["the program's own pruner isn't recorded: nothing is pruned here"] = None
            else:
                self._study.study.pruner = found
        # Times can't be measured again: where they are as recorded, the ends are in the log.
        untimed = dict.fromkeys((*TIMED, "max_concurrent"))
        self._limits = {**now.get("budget", {}), **untimed, **self._changes.budget}
        self._unlogged.charge(self._budget, decision.n)
        for number in self._recorded.retried:
            self._budget.forget(number)
        self._budget.begin(self._limits, afresh=bool(before) and now.get("since") != before.get("since"))

    def _edited(self, decision: Decision) -> None:
        name = str(decision.why["limit"])
        if name not in (*self._changes.budget, *TIMED, "max_concurrent"):
            self._limits[name] = decision.why["to"]
            self._budget.limit(name, decision.why["to"])

    def _look_at_limits(self, decision: Decision) -> None:
        """End the study where the changed budget is used up."""
        budget = self._budget.budget
        if self._verdict is not None:
            return
        if budget.wall_clock.limit is not None:
            budget.wall_clock.update("study", self._times.wall_clock_s(decision.n, decision.at) / 60)
        if budget.compute_time.limit is not None:
            for number in self._running:
                budget.compute_time.update(str(number), self._times.computed_s(number, decision.at) / 60)
        verdict = budget.exceeded()
        if verdict is not None:
            self._end(verdict, decision)
            for number in list(self._running):
                self._stop(number, decision, verdict.reason_class, verdict.reason)

    def _end(self, verdict: Verdict, decision: Decision) -> None:
        self._verdict = verdict
        self._differs(decision)
        self._ended = EndedEarlier(reason=verdict.reason, at=decision.at, launched=self._launches)

    def _differs(self, decision: Decision) -> None:
        if self._first is None:
            self._first = decision.n

    # Trials

    def _asked(self, decision: Decision) -> None:
        number = decision.number
        if self._settings.get("sampler", {}).get("type") not in _BLIND:
            self._learned[number] = decision.n
        for _ in self._study.catch_up(number):
            pass
        if self._verdict is not None:
            self._not_run[number] = None
        else:
            self._study.ask(self._recorded.trials[number], given=True)

    def _launched(self, decision: Decision) -> None:
        number = decision.number
        verdict = self._verdict or self._budget.may_launch()
        if not verdict.ok:
            self._not_run[number] = None
            self._study.end(number, TrialState.FAIL)
            if self._verdict is None and verdict.final:
                self._end(verdict, decision)
            self._differs(decision)
            return
        self._budget.launch(number)
        self._launches += 1
        self._running[number] = Summary.of("", "")

    def _reported(self, decision: Decision) -> None:
        number, step = decision.number, int(decision.why["step"])
        values = self._recorded.trials[number].intermediate_values
        if step not in values:
            return
        summary = self._running[number] = self._summary(number).add(values[step], step)
        least = int(self._limits.get("min_iterations") or 0)
        gives_up = self._study.report(number, step, values[step], least)
        used = max(summary.iterations, summary.last_iteration)
        most, seconds = self._limits.get("max_iterations"), self._changes.budget.get("time_per_trial")
        recorded = (number, step) in self._pruned
        if gives_up and not recorded and self._times.is_iterative(number):
            self._stop(number, decision, Reason.PRUNED, f"given up at iteration {step}")
        elif recorded and not gives_up:
            self._longer[number] = None
            self._differs(decision)
        elif most is not None and used >= most and used < self._times.iterations(number):
            self._stop(number, decision, Reason.ITERATION_LIMIT, f"reached its limit of {most:g} iterations")
        elif seconds is not None and self._times.computed_s(number, decision.at) >= seconds:
            self._stop(number, decision, Reason.TIME_LIMIT, f"ran for {duration(seconds / 60)}")

    def _summary(self, number: int) -> Summary:
        return self._running.get(number) or Summary.of("", "")

    def _stop(self, number: int, decision: Decision, reason_class: Reason, reason: str) -> None:
        """End a trial here."""
        self._differs(decision)
        summary = self._running.pop(number, None) or Summary.of("", "")
        used = max(summary.iterations, summary.last_iteration, 0)
        metric = self._recorded.record.metrics[0] if self._recorded.record.metrics else None
        value = summary.value(metric.sign) if metric is not None else summary.last
        self._stopped[number] = Stopped(
            trial=number, at=decision.at, iteration=used, of=self._times.iterations(number),
            reason_class=reason_class.value, reason=reason,
            saved_s=self._times.left_s(number, decision.at),
        )  # fmt: skip
        if reason_class is Reason.ITERATION_LIMIT:
            self._values[number] = [value]
            self._study.end(number, TrialState.COMPLETE, [value])
        elif len(self._recorded.directions) == 1 and summary.count:
            self._study.end(number, TrialState.PRUNED)
        else:
            self._study.end(number, TrialState.FAIL)
        self._budget.end(
            number,
            Charge(
                iterations=used,
                reports=summary.iterations,
                seconds=self._times.computed_s(number, decision.at),
                by_itself=False,
                counts=True,
            ),
        )

    def _ends(self, decision: Decision) -> None:
        number = decision.number
        charge = self._times.charges.get(number)
        self._running.pop(number, None)
        if charge is not None:
            if (most := self._changes.budget.get("max_iterations")) is not None:
                charge = replace(charge, iterations=min(charge.iterations, int(most)))
            self._budget.end(number, charge)

    def _told(self, decision: Decision) -> None:
        number = decision.number
        self._ends(decision)
        trial = self._recorded.trials[number]
        self._study.tell(number, trial)
        if trial.state is TrialState.COMPLETE and trial.values is not None:
            self._values[number] = list(trial.values)

    # What came of it

    def result(self) -> WhatIf:
        recorded, times = self._recorded, self._times
        gone = list(self._stopped.values())
        not_run = [number for number in self._not_run if number in times.charges]
        return WhatIf(
            study=recorded.record.name,
            changes=self._changes.as_dict(),
            stopped=tuple(gone),
            not_run=tuple(not_run),
            longer=tuple(self._longer),
            ended=self._ended,
            iterations=sum(times.iterations(number) for number in times.all),
            saved_iterations=sum(max(0, found.of - found.iteration) for found in gone)
            + sum(map(times.iterations, not_run)),
            slot_s=sum(times.seconds(number) for number in times.all),
            saved_s=sum(found.saved_s for found in gone) + sum(map(times.seconds, not_run)),
            winner=winner_of(recorded, self._values),
            asked_after=self._asked_after(),
            notes=(*self._notes, *self._more_notes()),
        )

    def _asked_after(self) -> int:
        """Trials asked for after the first difference by a sampler that looks at results."""
        if self._first is None:
            return 0
        asked = [number for number, n in self._learned.items() if n > self._first]
        return sum(number in self._times.charges and number not in self._not_run for number in asked)

    def _more_notes(self) -> list[str]:
        found = []
        if self._unlogged.count:
            found.append(
                f"{_trials(self._unlogged.count)} without a log of decisions, of an earlier version: "
                "taken as recorded"
            )
        if self._longer:
            found.append(
                f"{_trials(len(self._longer))} would have gone on beyond the recorded end: what that would "
                "have cost and led to is not known"
            )
        budget = self._budget.budget
        if self._verdict is None and budget.may_create().ok and budget.jobs.limit is not None:
            found.append(f"the budget would have had room for {_trials(budget.room())} more")
        if len(self._recorded.directions) > 1:
            found.append("reports of several objectives aren't told: trials are only stopped with the study")
        return found


def _trials(count: int) -> str:
    return "one trial" if count == 1 else f"{count} trials"
