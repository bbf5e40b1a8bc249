"""A study's trials in memory, for the one controller that acts on the study."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

import optuna
from optuna.distributions import BaseDistribution
from optuna.storages import BaseStorage, InMemoryStorage, JournalStorage, RDBStorage
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState

from controller.search.trial_rows import Change, TableWriter, writer_for
from worker.optuna_internals import own_copy, set_system_attr, storage_of, trial_id
from worker.trials.storage import quietly
from worker.trials.storage_retry import beneath

log = logging.getLogger(__name__)


def cached(study: optuna.Study) -> optuna.Study:
    """The study with its trials in memory, where its storage is a database or a journal; otherwise itself.

    What is done to the trials of the study that is returned stands in the storage after `flush`.
    """
    storage = beneath(storage_of(study))
    if not isinstance(storage, (RDBStorage, JournalStorage)):
        return study
    return optuna.load_study(
        study_name=study.study_name,
        storage=TrialCache(storage, study.study_name),
        sampler=study.sampler,
        pruner=study.pruner,
    )


class TrialCache(InMemoryStorage):
    """Optuna's storage in memory, filled from another one, with what changes in trials kept for `flush`.

    The controller holds the lease on its study and is the only one to tell its trials, so that nothing has
    to be read again. Others may add trials (`Study.enqueue_trial`); they are seen when this one adds some.
    What is not flushed when the controller is killed is in the tasks' records, and told from there.

    Ids of studies and trials are this storage's own.
    """

    def __init__(self, storage: BaseStorage, name: str) -> None:
        super().__init__()
        self._backend = storage
        self._name = name
        self._backend_study = storage.get_study_id_from_name(name)
        self._writer = writer_for(storage, self._backend_study)
        self._fill()

    def _fill(self) -> None:
        storage, study_id = self._backend, self._backend_study
        with quietly():
            study = super().create_new_study(storage.get_study_directions(study_id), self._name)
        for key, value in storage.get_study_user_attrs(study_id).items():
            super().set_study_user_attr(study, key, value)
        for key, value in storage.get_study_system_attrs(study_id).items():
            super().set_study_system_attr(study, key, value)
        self._ids: list[int] = []
        """The storage's id of each trial, by number."""
        self._changed: dict[int, FrozenTrial | None] = {}
        """Id of a changed trial → what the storage has of it."""
        for trial in storage.get_all_trials(study_id, deepcopy=False):
            super().create_new_trial(study, template_trial=trial)
            self._ids.append(trial_id(trial))

    @property
    def transactions(self) -> list[tuple[Any, str]]:
        """What writes by itself to the storage, as (object, method), each call all or nothing."""
        return [(self._writer, "write")] if isinstance(self._writer, TableWriter) else []

    # What is written at once

    def set_study_user_attr(self, study_id: int, key: str, value: Any) -> None:
        self._backend.set_study_user_attr(self._backend_study, key, value)
        super().set_study_user_attr(study_id, key, value)

    def set_study_system_attr(self, study_id: int, key: str, value: Any) -> None:
        self._backend.set_study_system_attr(self._backend_study, key, value)
        super().set_study_system_attr(study_id, key, value)

    # What is kept

    def create_new_trial(self, study_id: int, template_trial: FrozenTrial | None = None) -> int:
        trial_id = super().create_new_trial(study_id, template_trial)
        self._changed[trial_id] = None
        return trial_id

    def set_trial_param(
        self, trial_id: int, param_name: str, param_value_internal: float, distribution: BaseDistribution
    ) -> None:
        self._keep(trial_id)
        super().set_trial_param(trial_id, param_name, param_value_internal, distribution)

    def set_trial_state_values(
        self, trial_id: int, state: TrialState, values: Sequence[float] | None = None
    ) -> bool:
        self._keep(trial_id)
        return super().set_trial_state_values(trial_id, state, values)

    def set_trial_intermediate_value(self, trial_id: int, step: int, intermediate_value: float) -> None:
        self._keep(trial_id)
        super().set_trial_intermediate_value(trial_id, step, intermediate_value)

    def set_trial_user_attr(self, trial_id: int, key: str, value: Any) -> None:
        self._keep(trial_id)
        super().set_trial_user_attr(trial_id, key, value)

    def set_trial_system_attr(self, trial_id: int, key: str, value: Any) -> None:
        self._keep(trial_id)
        set_system_attr(self, trial_id, key, value)

    def _keep(self, trial_id: int) -> None:
        # Optuna's storage replaces a trial that changes by a copy: this one stays as it is.
        if trial_id not in self._changed:
            self._changed[trial_id] = super().get_trial(trial_id)

    def get_trial(self, trial_id: int) -> FrozenTrial:
        trial = super().get_trial(trial_id)
        if trial.state.is_finished():
            return trial
        # Optuna's `Trial` writes into what it gets, besides telling the storage.
        return own_copy(trial)

    def get_trial_system_attrs(self, trial_id: int) -> dict[str, Any]:
        """The trial's own, to be read only."""
        return super().get_trial(trial_id).system_attrs

    def create_new_study(self, directions: Sequence[StudyDirection], study_name: str | None = None) -> int:
        raise NotImplementedError("it has the trials of one study")

    def delete_study(self, study_id: int) -> None:
        raise NotImplementedError("it has the trials of one study")

    # Writing

    @property
    def dirty(self) -> bool:
        """Whether there is something to write."""
        return bool(self._changed)

    def flush(self) -> dict[int, int]:
        """Write what has changed, in one transaction; raises what the storage raises, and keeps it then.

        Returns:
            Number that a new trial had → the number it has got, where somebody else has taken that.
        """
        if not self._changed:
            return {}
        known = len(self._ids)
        current = super().get_trial  # `super` knows no comprehensions
        changes = [
            Change(
                trial_id=self._ids[trial_id] if before is not None else None,
                before=before,
                after=current(trial_id),
            )
            for trial_id, before in sorted(self._changed.items())
        ]
        written = self._writer.write(changes, self._ids[-1] if self._ids else -1, known)
        self._changed.clear()
        self._ids += written.ids
        if not written.foreign:
            return {}
        log.info("study %s: somebody else has written to its trials; they are read again", self._name)
        moved = dict(zip(range(known, known + len(written.numbers)), written.numbers, strict=True))
        super().__init__()
        self._fill()
        return {old: new for old, new in moved.items() if old != new}
