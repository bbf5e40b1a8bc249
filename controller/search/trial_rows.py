"""What has changed in a study's trials, written to Optuna's storage: at once where it can be.

Optuna's own storages take one value per call, each in a transaction of its own: some ten for one trial. A
database gets all that has gathered in one transaction here, a journal in one write; any other storage gets
Optuna's own calls.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from datetime import datetime, timezone
from functools import cache
from typing import Any, Protocol

import sqlalchemy
from optuna.distributions import distribution_to_json
from optuna.exceptions import UpdateFinishedTrialError
from optuna.storages import BaseStorage, JournalStorage, RDBStorage
from optuna.trial import FrozenTrial, TrialState

from worker.optuna_internals import backend_of, database_models
from worker.trials.journal import JournalFile

log = logging.getLogger(__name__)
models = database_models()

SCHEMA = "v3.2.0.a"
"""The version of Optuna's tables that `TableWriter` knows; others get Optuna's own calls."""


@dataclass(frozen=True, kw_only=True)
class Change:
    """A trial as the storage has it, and as it is now."""

    trial_id: int | None
    """The storage's id of the trial; None for a new one."""
    before: FrozenTrial | None
    after: FrozenTrial

    def news(self, kind: str) -> dict[Any, Any]:
        """What one of the trial's dicts has that the storage has not."""
        now = getattr(self.after, kind)
        old = getattr(self.before, kind) if self.before else {}
        if now is old:
            return {}
        return {key: value for key, value in now.items() if key not in old or old[key] is not value}

    @property
    def is_other_state(self) -> bool:
        """Whether the state is another one."""
        return self.before is not None and self.before.state is not self.after.state


@dataclass(kw_only=True)
class Written:
    """What became of the changes."""

    ids: list[int] = field(default_factory=list)
    """The storage's ids of the new trials, in their order."""
    numbers: list[int] = field(default_factory=list)
    """And their numbers."""
    foreign: bool = False
    """Somebody else has added trials to the study, or told one of these."""


class Writer(Protocol):
    """Writes changes, all or none."""

    def write(self, changes: Sequence[Change], last_id: int, count: int) -> Written:
        """
        Args:
            changes: in the order of the trials' numbers.
            last_id: the highest id of the study's trials that is known.
            count: how many trials of the study are known.
        """


def writer_for(storage: BaseStorage, study_id: int) -> Writer:
    """The fastest one that this storage allows."""
    if isinstance(storage, RDBStorage) and storage.get_head_version() == SCHEMA:
        return TableWriter(storage, study_id)
    return CallWriter(storage, study_id)


class CallWriter:
    """By Optuna's own calls; a journal that was opened here gets all of them in one write."""

    def __init__(self, storage: BaseStorage, study_id: int) -> None:
        self._storage = storage
        self._study_id = study_id
        backend = backend_of(storage) if isinstance(storage, JournalStorage) else None
        self._journal = backend if isinstance(backend, JournalFile) else None

    def write(self, changes: Sequence[Change], last_id: int, count: int) -> Written:
        written = Written()
        with self._journal.together() if self._journal else nullcontext():
            for change in changes:
                if change.trial_id is None:
                    self._create(change.after, written)
                else:
                    self._update(change, change.trial_id, written)
        expected = range(count, count + len(written.numbers))
        written.foreign = written.foreign or written.numbers != list(expected)
        return written

    def _create(self, trial: FrozenTrial, written: Written) -> None:
        trial_id = self._storage.create_new_trial(self._study_id, template_trial=trial)
        written.ids.append(trial_id)
        written.numbers.append(self._storage.get_trial_number_from_id(trial_id))

    def _update(self, change: Change, trial_id: int, written: Written) -> None:
        storage, after = self._storage, change.after
        try:
            if change.is_other_state and after.state is TrialState.RUNNING:
                storage.set_trial_state_values(trial_id, after.state)
            for name, value in change.news("params").items():
                distribution = after.distributions[name]
                storage.set_trial_param(trial_id, name, distribution.to_internal_repr(value), distribution)
            for step, value in change.news("intermediate_values").items():
                storage.set_trial_intermediate_value(trial_id, step, value)
            for key, value in change.news("user_attrs").items():
                storage.set_trial_user_attr(trial_id, key, value)
            for key, value in change.news("system_attrs").items():
                storage.set_trial_system_attr(trial_id, key, value)
            if change.is_other_state and after.state is not TrialState.RUNNING:
                storage.set_trial_state_values(trial_id, after.state, after.values)
        except UpdateFinishedTrialError:
            written.foreign = True


class TableWriter:
    """Into the tables of Optuna's database, in one transaction."""

    def __init__(self, storage: RDBStorage, study_id: int) -> None:
        self._engine = storage.engine
        self._study_id = study_id
        self._one_by_one = CallWriter(storage, study_id)

    def write(self, changes: Sequence[Change], last_id: int, count: int) -> Written:
        try:
            try:
                return self._write(changes, last_id, count, together=True)
            except _SomebodyElse:
                return self._write(changes, last_id, count, together=False)
        except sqlalchemy.exc.IntegrityError as error:
            # Somebody else has given one of these trials an attribute of that name; Optuna writes over it.
            log.info("study %s: its trials are written one by one: %s", self._study_id, error)
            written = self._one_by_one.write(changes, last_id, count)
            written.foreign = True
            return written

    def _write(self, changes: Sequence[Change], last_id: int, count: int, *, together: bool) -> Written:
        """
        Args:
            together: trials and states in one statement each. Raises `_SomebodyElse` where that won't do.
        """
        written = Written()
        rows = _Rows()
        with self._engine.begin() as connection:
            new = [change for change in changes if change.trial_id is None]
            if new:
                trials = [change.after for change in new]
                self._create(trials, last_id, count, connection, written, together=together)
            ids = iter(written.ids)
            others = [change for change in changes if change.trial_id is not None and change.is_other_state]
            known = together and self._all_open(others, connection)
            for change in changes:
                if change.trial_id is None:
                    rows.add(next(ids), change)
                elif known or self._still_open(change, change.trial_id, connection):
                    rows.add(change.trial_id, change)
                else:
                    written.foreign = True
            rows.write(connection)
        return written

    def _create(
        self,
        trials: Sequence[FrozenTrial],
        last_id: int,
        count: int,
        connection: sqlalchemy.Connection,
        written: Written,
        *,
        together: bool,
    ) -> None:
        # As Optuna does: who creates trials holds the study's row, so that their numbers have no gaps.
        if connection.dialect.name != "sqlite":  # which locks with the first row that is written
            connection.execute(_LOCK, {"study": self._study_id})
        rows = [
            {
                "number": count + place,
                "study_id": self._study_id,
                "state": trial.state,
                "datetime_start": _utc(trial.datetime_start),
                "datetime_complete": _utc(trial.datetime_complete),
            }
            for place, trial in enumerate(trials)
        ]
        together = together and len(rows) > 1
        if together:
            connection.execute(_NEW_TRIAL, rows)
        for row in () if together else rows:
            inserted = connection.execute(_NEW_TRIAL, row)
            assert inserted.inserted_primary_key is not None
            written.ids.append(inserted.inserted_primary_key[0])
        found = connection.execute(_NEWER, {"study": self._study_id, "last": last_id}).scalars().all()
        if together:
            if len(found) != len(rows):
                raise _SomebodyElse
            written.ids += found
        if len(found) == len(trials):
            written.numbers = list(range(count, count + len(trials)))
            return
        written.foreign = True
        written.numbers = [count + found.index(trial_id) for trial_id in written.ids]
        for trial_id, number in zip(written.ids, written.numbers, strict=True):
            connection.execute(_RENUMBER, {"trial": trial_id, "place": number})

    def _still_open(self, change: Change, trial_id: int, connection: sqlalchemy.Connection) -> bool:
        """Write the state, if it is another; False when somebody else has ended the trial."""
        if not change.is_other_state:
            return True
        return bool(connection.execute(_STATE, _state_of(change)).rowcount)

    def _all_open(self, changes: Sequence[Change], connection: sqlalchemy.Connection) -> bool:
        """Write the states of all of them; False where that has to be done one by one."""
        if len(changes) < 2 or not connection.dialect.supports_sane_multi_rowcount:
            return False
        if connection.execute(_STATE, [_state_of(change) for change in changes]).rowcount != len(changes):
            raise _SomebodyElse
        return True


class _SomebodyElse(Exception):
    """Somebody else has written to the study's trials: which of them, only one statement for each tells."""


def _state_of(change: Change) -> dict[str, Any]:
    return {
        "trial": change.trial_id,
        "new": change.after.state,
        "begun": _utc(change.after.datetime_start),
        "over": _utc(change.after.datetime_complete),
    }


class _Rows:
    """Rows for the tables around the trials', gathered by table."""

    def __init__(self) -> None:
        self._new: dict[sqlalchemy.Table, list[dict[str, Any]]] = {}
        self._changed: dict[sqlalchemy.Table, list[dict[str, Any]]] = {}

    def add(self, trial_id: int, change: Change) -> None:
        before, after = change.before, change.after
        for name, value in change.news("params").items():
            distribution = after.distributions[name]
            known = before is not None and name in before.params
            self._put(
                _PARAM,
                known,
                {"trial_id": trial_id, "param_name": name},
                param_value=distribution.to_internal_repr(value),
                distribution_json=distribution_to_json(distribution),
            )
        for kind, table in (("user_attrs", _USER), ("system_attrs", _SYSTEM)):
            for key, value in change.news(kind).items():
                known = before is not None and key in getattr(before, kind)
                self._put(table, known, {"trial_id": trial_id, "key": key}, value_json=json.dumps(value))
        for step, value in change.news("intermediate_values").items():
            stored, value_type = models.TrialIntermediateValueModel.intermediate_value_to_stored_repr(value)
            known = before is not None and step in before.intermediate_values
            self._put(
                _INTERMEDIATE,
                known,
                {"trial_id": trial_id, "step": step},
                intermediate_value=stored,
                intermediate_value_type=value_type,
            )
        if after.values is not None and (before is None or before.values != after.values):
            for objective, value in enumerate(after.values):
                kept, kind_of_value = models.TrialValueModel.value_to_stored_repr(value)
                self._put(
                    _VALUE,
                    before is not None and before.values is not None,
                    {"trial_id": trial_id, "objective": objective},
                    value=kept,
                    value_type=kind_of_value,
                )

    def _put(self, table: sqlalchemy.Table, known: bool, where: Mapping[str, Any], **values: Any) -> None:
        if known:
            named = {f"_{name}": value for name, value in where.items()}
            self._changed.setdefault(table, []).append({**named, **values})
        else:
            self._new.setdefault(table, []).append({**where, **values})

    def write(self, connection: sqlalchemy.Connection) -> None:
        for table, rows in self._new.items():
            connection.execute(_INSERT[table], rows)
        for table, rows in self._changed.items():
            connection.execute(_update(table, tuple(rows[0])), rows)


@cache
def _update(table: sqlalchemy.Table, names: tuple[str, ...]) -> sqlalchemy.Update:
    """Changes rows of a table: made once, as that takes longer than to run it.

    Args:
        names: of the parameters; those that begin with ``_`` say which row.
    """
    keys = [name[1:] for name in names if name.startswith("_")]
    condition = sqlalchemy.and_(*(table.c[name] == sqlalchemy.bindparam(f"_{name}") for name in keys))
    return table.update().where(condition)


def _utc(moment: datetime | None) -> datetime | None:
    """As Optuna's tables keep times: in UTC, without saying so."""
    return moment.astimezone(timezone.utc).replace(tzinfo=None) if moment else None


_TRIAL = models.TrialModel.__table__
_PARAM = models.TrialParamModel.__table__
_USER = models.TrialUserAttributeModel.__table__
_SYSTEM = models.TrialSystemAttributeModel.__table__
_INTERMEDIATE = models.TrialIntermediateValueModel.__table__
_VALUE = models.TrialValueModel.__table__
_STUDY = models.StudyModel.__table__
_NEW_TRIAL = _TRIAL.insert()
_INSERT = {table: table.insert() for table in (_PARAM, _USER, _SYSTEM, _INTERMEDIATE, _VALUE)}

_LOCK = (
    sqlalchemy.select(_STUDY.c.study_id)
    .where(_STUDY.c.study_id == sqlalchemy.bindparam("study"))
    .with_for_update()
)
_NEWER = (
    sqlalchemy.select(_TRIAL.c.trial_id)
    .where(_TRIAL.c.study_id == sqlalchemy.bindparam("study"))
    .where(_TRIAL.c.trial_id > sqlalchemy.bindparam("last"))
    .order_by(_TRIAL.c.trial_id)
)
_RENUMBER = (
    _TRIAL.update()
    .where(_TRIAL.c.trial_id == sqlalchemy.bindparam("trial"))
    .values(number=sqlalchemy.bindparam("place"))
)
_STATE = (
    _TRIAL.update()
    .where(_TRIAL.c.trial_id == sqlalchemy.bindparam("trial"))
    .where(sqlalchemy.or_(_TRIAL.c.state == TrialState.RUNNING, _TRIAL.c.state == TrialState.WAITING))
    .values(
        state=sqlalchemy.bindparam("new"),
        datetime_start=sqlalchemy.bindparam("begun"),
        datetime_complete=sqlalchemy.bindparam("over"),
    )
)
