"""Ask, tell, prune: the only place that talks to Optuna's samplers and pruners."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import optuna
from optuna.trial import TrialState

from controller.search.artifact_links import LINK, link_text
from controller.search.decision_log import PRUNED, DecisionLog
from controller.search.enqueued import enqueue_as_meant, enqueue_once, foreign_trials, is_foreign
from controller.search.older_trials import copy_trials
from controller.search.parameters import Parameter
from controller.search.retries import RETRY_OF, given_trial, once_more, retried
from controller.search.samplers import ignores_history
from controller.search.space import chosen_by
from controller.search.study import study_uid, task_id_of
from controller.search.tell import TellResult, keep_text, tell_trial
from controller.search.trial_cache import TrialCache
from controller.search.trial_reasons import TrialReasons
from controller.search.trial_snapshot import SNAPSHOT, TrialSnapshot, snapshots
from controller.search.tried import DUPLICATE, NOT_RUN, TriedPoints
from worker.artifacts import ArtifactMeta
from worker.optuna_internals import chosen_params, open_trial, storage_of, trial_id
from worker.trials.sampler_state import MARK, SamplerState
from worker.trials.storage_retry import retry_while_away

log = logging.getLogger(__name__)

PATIENCE = 3
"""Duplicates in a row after which an unseen point of a finite space is chosen for the sampler."""
MOST_DUPLICATES = 500
"""Duplicates in a row after which a sampler is taken to have nothing new."""

LARGEST_STEP = 2**31 - 1
"""Largest iteration that Optuna's databases all take."""


@dataclass(frozen=True, kw_only=True)
class Asked:
    """A trial that has its parameters and waits to be launched."""

    number: int
    task_id: str
    parameters: dict[str, Any]
    """Name → the program's value."""


class Search:
    """One study's search. Not thread-safe: the loop owns it.

    What was tried is not tried again: a trial whose parameters an earlier one had is closed at once, and
    another is asked.

    Args:
        study: Optuna's, with its sampler and pruner. One that `trial_cache.cached` gave is written to its
            storage when trials are asked for, and by `flush`.
        parameters: what is searched, in the order in which conditions are decided.
        allow_duplicates: run the same parameters again when the sampler asks for them.
        reports: tell Optuna what tasks report, and ask its pruner; False where objectives do so themselves.
        sampler_state: of the study's sampler: each trial keeps where that stood, so that a seeded search
            that was killed goes on as if it was not. None where it is not to be kept.
    """

    def __init__(
        self,
        study: optuna.Study,
        parameters: Sequence[Parameter],
        *,
        allow_duplicates: bool = False,
        reports: bool = True,
        sampler_state: SamplerState | None = None,
    ) -> None:
        self._study = study
        self._parameters = list(parameters)
        self._uid = study_uid(study)
        self._trials: dict[int, optuna.Trial] = {}
        self._reported: dict[int, set[int]] = {}
        self._unwritten: list[Asked] = []  # asked for, and not in the storage yet
        self._simple = not any(parameter.conditional for parameter in parameters)
        self._allow_duplicates = allow_duplicates
        self._reports = reports
        self._sampler_state = sampler_state if sampler_state is not None and sampler_state.seeded else None
        self._tried = TriedPoints(study, self._parameters)
        self.log = DecisionLog(study)
        """What was decided, and why."""
        self.settings: dict[str, Any] = {}
        """What sampler and pruner were made from, by name, for the log."""
        self.reasons = TrialReasons(study)
        """Of asks and prunes."""
        self.exhausted = False
        """Nothing is left to try."""

    @property
    def study(self) -> optuna.Study:
        """Optuna's study."""
        return self._study

    @property
    def can_ask_ahead(self) -> bool:
        """Whether asking before results are in gives the same suggestions.

        An objective that suggests by itself goes on where the trial before it stood, once that is told.
        """
        return self._reports and ignores_history(self._study.sampler)

    @property
    def prunes(self) -> bool:
        """Whether reports can lead to a trial being given up."""
        return self.takes_reports and not isinstance(self._study.pruner, optuna.pruners.NopPruner)

    def ask(self) -> Asked | None:
        """The next trial; None, and `exhausted`, when nothing is left to try.

        It counts as running for the sampler from now on, and stands in the storage.
        """
        found = self.ask_several(1)
        return found[0] if found else None

    def ask_several(self, most: int) -> list[Asked]:
        """As `ask`, for up to `most` trials that are written together; fewer when nothing is left."""
        while len(self._unwritten) < most and (asked := self._ask_new()) is not None:
            self._unwritten.append(asked)
        moved = self.flush()
        # From behind: each moves to a higher number, which the next one may have had.
        found = [
            self._moved(asked, moved[asked.number]) if asked.number in moved else asked
            for asked in reversed(self._unwritten)
        ]
        self._unwritten.clear()
        return found[::-1]

    def _moved(self, asked: Asked, number: int) -> Asked:
        """A trial whose number somebody else's has got, under its own one."""
        self._trials.pop(asked.number, None)
        self._trials[number] = open_trial(self._study, number)
        self.log.moved(asked.number, number)
        self._tried.reset()
        return Asked(number=number, task_id=task_id_of(self._uid, number), parameters=asked.parameters)

    def flush(self) -> dict[int, int]:
        """Write what was told and reported to the storage; returns `TrialCache.flush`'s."""
        self.log.write(self._trials)
        storage = storage_of(self._study)
        return self.reasons.timed(storage.flush) if isinstance(storage, TrialCache) else {}

    @property
    def dirty(self) -> bool:
        """Whether something was told or reported that the storage doesn't have."""
        storage = storage_of(self._study)
        return isinstance(storage, TrialCache) and storage.dirty

    def wait_for_storage(
        self, waiting: Callable[[str], None], back: Callable[[], None]
    ) -> Callable[[], None]:
        """Have each call of the storage wait while that is locked or away.

        Args:
            waiting: called with the reason before each pause; what it raises ends the wait.
            back: called when the storage answers again.

        Returns:
            What ends this.
        """
        storage = storage_of(self._study)
        also = storage.transactions if isinstance(storage, TrialCache) else ()
        return retry_while_away(storage, waiting, back, also=also)

    def _ask_new(self) -> Asked | None:
        """The next trial whose parameters are new, where that matters."""
        if self._allow_duplicates:
            return self._ask()
        closed: list[int] = []
        for count in range(MOST_DUPLICATES):
            if self._tried.complete:
                break
            asked = self._ask(closed)
            earlier = self._tried.claim(asked.parameters, asked.number)
            if earlier is None:
                return asked
            self._trials[asked.number].set_user_attr(DUPLICATE, earlier)
            self.tell(asked.number, TrialState.FAIL)
            closed.append(asked.number)
            if self.exhausted:
                return None
            self._tried.count_unseen()
            point = self._tried.pick_unseen(f"{self._uid}/{asked.number}") if count + 1 >= PATIENCE else None
            if point is not None:
                self._study.add_trial(given_trial(point, "unseen"))
        self.exhausted = True
        return None

    def _ask(self, closed: Sequence[int] = ()) -> Asked:
        while True:
            try:
                return self._ask_once(closed)
            except ValueError:
                found = foreign_trials(self._study, self._trials, self._parameters)
                if not found:
                    raise
                for trial in found:
                    self._replace(trial)

    def _replace(self, trial: optuna.trial.FrozenTrial) -> None:
        """Close a trial that somebody has enqueued with values that Optuna can't take as they are."""
        self._trials[trial.number] = open_trial(self._study, trial.number)
        self.discard(trial.number)
        enqueue_as_meant(self._study, trial, self._parameters)

    def _ask_once(self, closed: Sequence[int]) -> Asked:
        began = time.perf_counter()
        if self._simple:
            trial = self._study.ask({p.name: p.distribution() for p in self._parameters})
            chosen = chosen_params(trial)
            parameters = {p.name: p.decode(chosen[p.name]) for p in self._parameters}
        else:
            trial = self._study.ask()
            parameters, chosen = chosen_by(self._parameters, trial), chosen_params(trial)
        self._trials[trial.number] = trial
        seconds = time.perf_counter() - began
        mark = self._sampler_state.mark() if self._sampler_state is not None else None
        if mark is not None:
            trial.storage.set_trial_system_attr(trial_id(trial), MARK, mark)
        if self.log.is_kept:
            self.log.asked(trial, self.reasons.asked(trial, list(chosen), seconds, closed))
        return Asked(number=trial.number, task_id=task_id_of(self._uid, trial.number), parameters=parameters)

    def note(self, number: int, kind: str, why: Mapping[str, Any] | None = None) -> None:
        """Add to the log what was decided of a running trial, once of each kind."""
        trial = self._trials.get(number)
        if trial is not None:
            self.log.decided(trial, kind, why, once=True)

    # What is known beforehand

    def enqueue(self, parameters: Mapping[str, Any], origin: str = "program", by: str = "") -> str:
        """Have a known configuration tried next, see `enqueued.enqueue_once`."""
        tried = None if self._allow_duplicates else self._tried
        why = enqueue_once(self._study, parameters, self._parameters, tried, origin, by)
        self.exhausted = self.exhausted and bool(why)
        return why

    def start_from(self, older: optuna.Study) -> tuple[int, int]:
        """Let the sampler know an older study's trials, see `older_trials.copy_trials`."""
        return copy_trials(older, self._study, self._parameters)

    def running(self) -> list[Asked]:
        """The trials that Optuna counts as running: after a restart, those to take up again."""
        found = []
        states = (TrialState.RUNNING,)
        for frozen in self._study.get_trials(deepcopy=False, states=states):
            trial = optuna.Trial(self._study, trial_id(frozen))
            self._trials[frozen.number] = trial
            self._reported[frozen.number] = set(frozen.intermediate_values)
            try:
                # Suggesting again gives what was suggested, and the rest where a crash cut it short.
                parameters = chosen_by(self._parameters, trial)
            except ValueError:
                if not is_foreign(frozen, self._parameters):
                    raise
                self._replace(frozen)
                continue
            task_id = task_id_of(self._uid, frozen.number)
            found.append(Asked(number=frozen.number, task_id=task_id, parameters=parameters))
        return found

    def task_id(self, number: int) -> str:
        """The task of a trial."""
        return task_id_of(self._uid, number)

    def report(self, number: int, step: int, value: float, *, least: int = 0) -> bool:
        """Tell a running trial's value, and ask whether the trial should be given up there.

        Pruners expect to be asked after each report, in the order of the reports.

        Args:
            step: the iteration; one that was told before, that is negative, or larger than every database
                takes, is skipped.
            value: as the program reported it, also when it isn't a number.
            least: reports that a trial may make before it is given up.
        """
        trial = self._trials.get(number)
        if trial is None or not self.takes_reports:
            return False
        told = self._reported.setdefault(number, set())
        if step in told or not 0 <= step <= LARGEST_STEP:
            return False
        told.add(step)
        trial.report(value, step)
        self.log.reported(trial, step, value)
        # Pruners note what they see, also where their answer doesn't count yet.
        if not (self.prunes and trial.should_prune()) or len(told) < least:
            return False
        self.log.decided(trial, PRUNED, self.reasons.pruned(trial, step))
        return True

    @property
    def takes_reports(self) -> bool:
        """Whether `report` tells Optuna anything."""
        return self._reports and len(self._study.directions) == 1

    def told_values(self, number: int) -> dict[int, float]:
        """What was told of a running trial: iteration → value."""
        trial = self._trials.get(number)
        return trial.storage.get_trial(trial_id(trial)).intermediate_values if trial is not None else {}

    def tell(
        self,
        number: int,
        state: TrialState,
        values: Sequence[float] | None = None,
        constraints: Sequence[float] | None = None,
        why: Mapping[str, Any] | None = None,
    ) -> bool:
        """Tell how a trial has ended.

        Args:
            constraints: by how much each bound is passed; feasible where all are 0 or below.
            why: for the log: what became of its task, as JSON types.

        Returns:
            False when that was told before: each trial is told once.
        """
        trial = self._trials.pop(number, None)
        self._reported.pop(number, None)
        self.reasons.given_up.pop(number, None)
        if trial is None:
            return False
        result = tell_trial(self._study, trial, state, values, constraints, self.log, why)
        if result is TellResult.LAST:
            # Interrupted trials that wait for another try are not among what the sampler counts.
            self.exhausted = not self._study.get_trials(deepcopy=False, states=(TrialState.WAITING,))
        return result is not TellResult.KNOWN

    def link(self, number: int, artifacts: Iterable[ArtifactMeta]) -> None:
        """Make a running trial's artifacts known to Optuna, as `optuna.artifacts.upload_artifact` does."""
        for meta in artifacts:
            self._keep(number, f"{LINK}{meta.artifact_id}", link_text(meta))

    def keep_snapshot(self, number: int, text: str) -> None:
        """Have a running trial keep a copy of its ended task, see `controller.search.trial_snapshot`."""
        self._keep(number, SNAPSHOT, text)

    def _keep(self, number: int, name: str, text: str) -> None:
        if number in self._trials:
            keep_text(self._trials[number], name, text)

    def snapshots(self, known: Container[str]) -> Iterator[TrialSnapshot]:
        """The told trials that keep a copy of their task, except for tasks in `known`."""
        return snapshots(self._study, self._parameters, self.task_id, known)

    def discard(self, number: int, why: Mapping[str, Any] | None = None) -> None:
        """Close a trial that did not run, or not to its end: its parameters may come at the next start.

        Args:
            why: as for `tell`.
        """
        trial = self._trials.get(number)
        if trial is not None:
            trial.set_user_attr(NOT_RUN, True)
            self.tell(number, TrialState.FAIL, why=why)

    def try_again(self, number: int) -> None:
        """Have a later trial use the parameters of running trial `number`, which is being cut short."""
        trial = self._trials.get(number)
        if trial is None:
            return
        trial.set_user_attr(NOT_RUN, True)
        # What an objective has chosen by itself stands in the storage only.
        chosen = trial.params if self._reports else trial.storage.get_trial(trial_id(trial)).params
        self._tried.release(chosen, trial.params)
        attributes = trial.storage.get_trial_system_attrs(trial_id(trial))
        self._study.add_trial(once_more(chosen, attributes, again=number))
        if RETRY_OF in attributes:
            # From now on it is the later trial that retries the failed one.
            trial.storage.set_trial_system_attr(trial_id(trial), RETRY_OF, None)

    def retried(self) -> set[int]:
        """Numbers of the failed trials that were given another try."""
        return retried(self._study)

    def retry(self, numbers: Sequence[int]) -> set[int]:
        """Have later trials use the parameters of failed ones, which have no other try yet.

        Returns:
            Numbers of those that there are.
        """
        trials = {trial.number: trial for trial in self._study.get_trials(deepcopy=False)}
        found = [trials[number] for number in numbers if number in trials]
        for trial in found:
            self._tried.release(trial.params, trial.params)
            self._study.add_trial(once_more(trial.params, trial.system_attrs, retry_of=trial.number))
        self.flush()
        return {trial.number for trial in found}
