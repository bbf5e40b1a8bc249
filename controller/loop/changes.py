"""Takes over what people change of a running study: limits of its budget, configurations to be tried."""

from __future__ import annotations

import json
from collections.abc import Sequence

from controller.loop.budget import Budget
from controller.loop.context import LoopContext
from controller.results.limits import EDITABLE, TIMES, alike, said
from controller.search.decision_log import BUDGET
from controller.search.search import Asked
from worker.protocol.errors import BadInput
from worker.protocol.study_changes import BudgetEdit, Given
from worker.protocol.study_log import LogKind


class EditedBudget:
    """Applies the edits of a budget. Used by the loop's thread only."""

    def __init__(self, context: LoopContext) -> None:
        self._store = context.backend.store
        self._state = context.state
        self._budget = context.budget
        self._search = context.search
        self._observer = context.observer
        self._given = limits(context.budget)
        """The limits that the study was started with, by key of `[budget]`; times in seconds."""
        self._known: dict[str, BudgetEdit] = {}
        """The edits as they were last seen, those that were taken back among them."""

    def begin(self) -> None:
        """Apply the edits that hold still; drop those where the study was started with another limit now."""
        edits = self._store.changes.all_edits(self._state.study)
        over = {name for name, edit in edits.items() if not (edit.stands and self._holds(name, edit))}
        for name in sorted(over & self._given.keys()):
            edit = edits[name]
            if not edit.stands:
                continue
            self._observer.remark(
                LogKind.BUDGET,
                f"{name} is {said(name, self._given[name])}, with which the study was started; it was "
                f"{said(name, edit.instead_of)} when {edit.by or 'somebody'} set it to "
                f"{said(name, edit.limit)}",
            )
        self._store.changes.forget_edits(self._state.study, over)
        self._known = {name: edit for name, edit in edits.items() if name not in over}
        self._apply("still ")

    def look(self) -> None:
        """Apply what has been edited, or taken back, since."""
        edits = self._store.changes.all_edits(self._state.study)
        lost = {name: edit for name, edit in self._known.items() if name not in edits}
        if lost:  # Redis came back without its data
            self._store.changes.edit(self._state.study, lost)
        self._known = {**lost, **edits}
        self._apply()

    def _holds(self, name: str, edit: BudgetEdit) -> bool:
        return name in self._given and alike(self._given[name], edit.instead_of)

    def _apply(self, how: str = "") -> None:
        edits = {name: edit for name, edit in self._known.items() if edit.stands}
        wanted = {name: edits[name].limit if name in edits else given for name, given in self._given.items()}
        now = limits(self._budget)
        for name, limit in wanted.items():
            if alike(now[name], limit):
                continue
            set_limit(self._budget, name, limit)
            edit = edits.get(name)
            if edit is None:
                why = "with which the study was started"
            else:
                why = f"{how}as {edit.by or 'somebody'} has set it instead of {said(name, edit.instead_of)}"
            whose = ", for trials created from now on" if name == "time_per_trial" else ""
            self._observer.remark(LogKind.BUDGET, f"{name} is {said(name, limit)}{whose}, {why}")
            if self._search is not None:
                by = edit.by if edit is not None else ""
                changed = {"limit": name, "from": now[name], "to": limit}
                self._search.log.record(BUDGET, changed | ({"by": by} if by else {}))


class GivenConfigurations:
    """Has the search try the configurations that people give. Used by the loop's thread only."""

    def __init__(self, context: LoopContext) -> None:
        self._store = context.backend.store
        self._state = context.state
        self._search = context.search
        self._observer = context.observer
        self._ahead: set[int] = set()
        """Numbers of the trials given that were put before those that had been asked for."""

    def look(self) -> None:
        """Take the configurations that wait, the first one first."""
        changes, study = self._store.changes, self._state.study
        waiting = changes.given(study)
        if not waiting:
            return
        taken = [given for given in waiting if self._take(given)]
        search = self._search
        if search is not None and taken:
            if self._state.asked:
                self._put_first(search.ask_several(len(taken)))
            search.flush()
        # Only now that they stand in the storage: one that is taken twice is recognized there.
        for given in waiting:
            changes.taken(study, given)

    def _put_first(self, found: Sequence[Asked]) -> None:
        """Launch these before what was asked for already, and after what was given earlier."""
        waiting = self._state.asked
        place = sum(1 for asked in waiting if asked.number in self._ahead)
        self._ahead = {asked.number for asked in waiting if asked.number in self._ahead}
        for asked in reversed(found):
            waiting.insert(place, asked)
            self._ahead.add(asked.number)

    def _take(self, given: Given) -> bool:
        """Hand one to the search; False where that can't try it."""
        why = "this optimizer chooses its parameters by itself"
        if self._search is not None:
            try:
                why = self._search.enqueue(given.parameters, "person", given.by)
            except BadInput as error:
                why = str(error)
        shown = json.dumps(dict(given.parameters), ensure_ascii=False)
        who = f" given by {given.by}" if given.by else ""
        if why:
            self._observer.remark(LogKind.ENQUEUE, f"not tried: {shown}{who}: {why}")
        else:
            self._observer.remark(LogKind.ENQUEUE, f"tried next: {shown}{who}")
        return not why


def limits(budget: Budget) -> dict[str, float | None]:
    """The limits that can be edited, by key of `[budget]`; times in seconds, None for none."""
    found: dict[str, float | None] = {
        "max_trials": budget.jobs.limit,
        "max_concurrent": budget.max_concurrent,
        "max_failures": budget.failures.limit,
    }
    for name in (*TIMES, "min_iterations"):
        limit = getattr(budget, EDITABLE[name]).limit
        found[name] = limit * 60 if limit is not None and name in TIMES else limit
    return found


def set_limit(budget: Budget, name: str, limit: float | None) -> None:
    """Set one of the `limits`."""
    if name == "max_concurrent":
        budget.max_concurrent = None if limit is None else int(limit)
    elif name == "max_failures":
        budget.failures.limit = limit
    elif name == "max_trials":
        budget.limit_jobs(limit)
    else:
        getattr(budget, EDITABLE[name]).limit = limit / 60 if limit is not None and name in TIMES else limit
