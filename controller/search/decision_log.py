"""The log of a study's decisions: what was decided of each trial, in which order, and what it rested on.

It stands in Optuna's storage, with the trials, so that it is in their exports, copies and backups too, and is
written in the transactions that write the trials anyway. Entries are only added. A number, counted through
the study, orders them all; numbers that a killed controller had not written yet are given again.

Of a trial: its system attribute `LOG`, a list of ``[n, at, kind, why]`` (`why` only where there is something
to say), and one attribute ``LOG:0``, ``LOG:1``, … for every few of its reports, which has their places and
iterations; their values are the trial's own. Checksums say whether values and parameters are still those
that were logged. Of the study: one system attribute each, ``optuna-rq:decision:<n>``.
"""

from __future__ import annotations

import json
import math
import time
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import optuna
from optuna.exceptions import UpdateFinishedTrialError
from optuna.storages import InMemoryStorage
from optuna.trial import FrozenTrial

from controller.search.report_parts import ReportPart, reports_in
from worker.optuna_internals import chosen_params, storage_of, study_id, trial_id
from worker.protocol.errors import BadInput

LOG = "optuna-rq:log"
"""System attribute of a trial with its decisions; with ``:<number>`` behind, a part of its reports."""
LATER_S = 1.0
"""Seconds after which a launch or an end is written with what else is: most trials that are shorter are told
by then, and written once."""
DECISION = "optuna-rq:decision:"
"""Study's system attributes with the decisions about the study itself begin so."""

# Kinds of decisions
ASKED = "asked"
LAUNCHED = "launched"
REPORTED = "reported"
PRUNED = "pruned"
ENDED = "ended"
TOLD = "told"
BEGUN = "begun"
ADOPTED = "adopted"
BUDGET = "budget"
STOPPED = "stopped"
REWOUND = "rewound"


@dataclass(frozen=True, kw_only=True)
class Decision:
    """One entry of the log."""

    n: int
    """Its place among all of the study."""
    at: float
    """Seconds since the epoch; of a report between the first and the last of a part, about."""
    kind: str
    """``asked``, ``launched``, ``reported``, ``pruned``, ``ended`` (the loop has seen it), ``told`` of a
    trial; ``begun``, ``adopted``, ``budget``, ``stopped``, ``rewound`` of the study; perhaps more, of a
    newer version."""
    trial: int | None = None
    """The trial's number; None for a decision about the study."""
    why: Mapping[str, Any] = field(default_factory=dict)
    """What it rested on, as JSON types; of a report its ``step``, of the last one of a part its ``sum``."""

    @property
    def number(self) -> int:
        """The trial's number, of a decision about a trial."""
        assert self.trial is not None
        return self.trial

    def as_dict(self) -> dict[str, Any]:
        """As JSON types."""
        found: dict[str, Any] = {"n": self.n, "at": self.at, "kind": self.kind}
        return found | ({} if self.trial is None else {"trial": self.trial}) | {"why": dict(self.why)}


@dataclass(slots=True)
class _Open:
    """What is known here of a running trial's log."""

    entries: list[list[Any]]
    written: int
    """Entries that stand in the trial."""
    part: ReportPart | None = None
    """The part of its reports that is being filled."""


class DecisionLog:
    """Adds to the log of one study. Not thread-safe: the loop's thread has it.

    Studies whose trials are written one value at a time (objectives that take Optuna's trial write there
    themselves) have no log: each entry would be a transaction of its own.

    Args:
        study: Optuna's, with its trials in memory.
        clock: gives seconds since the epoch.
    """

    def __init__(self, study: optuna.Study, clock: Callable[[], float] = time.time) -> None:
        self._study = study
        self.clock = clock
        self.is_kept = isinstance(storage_of(study), InMemoryStorage)
        """Whether this study has a log."""
        self._next: int | None = None
        self._open: dict[int, _Open] = {}
        """By number of the trial."""
        self._due: dict[int, float] = {}
        """Number of a running trial of which something isn't written → when that is to be."""

    # Of trials

    def asked(self, trial: optuna.Trial, why: Mapping[str, Any] | None = None) -> None:
        """A trial was asked for; stands in the trial at once."""
        self.decided(trial, ASKED, why)
        self._write(trial)

    def decided(
        self, trial: optuna.Trial, kind: str, why: Mapping[str, Any] | None = None, *, once: bool = False
    ) -> None:
        """Something was decided of a running trial; stands in the trial with a later `write`, or its end.

        Args:
            once: unless its log has an entry of this kind.
        """
        if not self.is_kept:
            return
        number = trial.number
        entries = self._known(trial, number).entries
        if once:
            for entry in entries:
                if entry[2] == kind:
                    return
        at = self.clock()
        entry = [self._number(), round(at, 3), kind]
        entries.append([*entry, dict(why)] if why else entry)
        self._due.setdefault(number, at + LATER_S)

    def reported(self, trial: optuna.Trial, step: int, value: float) -> None:
        """Optuna was told a value of a running trial."""
        if not self.is_kept:
            return
        number = trial.number
        n, at, known = self._number(), round(self.clock(), 3), self._known(trial, number)
        part = known.part
        if part is None or part.is_full:
            place = part.place + 1 if part is not None else _parts_in(_attributes(trial))
            _put(trial, part)
            part = known.part = ReportPart(place)
        part.add(n, at, step, value)
        self._due[number] = -math.inf  # with the value

    def told(self, trial: optuna.Trial, values: Sequence[float] | None, why: Mapping[str, Any]) -> None:
        """A trial is about to be told; stands in the trial at once, with all that was not written.

        Args:
            values: what is told; None where no values are.
        """
        try:
            if self.is_kept:
                self.decided(trial, TOLD, {**why, "sum": told_sum(chosen_params(trial), values)})
            self._write(trial)
        finally:
            self._forget(trial.number)

    def _forget(self, number: int) -> None:
        self._open.pop(number, None)
        self._due.pop(number, None)

    def write(self, trials: Mapping[int, optuna.Trial]) -> None:
        """Put what was reported, and what was decided `LATER_S` ago, into the trials' attributes.

        Args:
            trials: the running ones, by number.
        """
        now = self.clock()
        for number in [number for number, due in self._due.items() if due <= now]:
            try:
                del self._due[number]
                if number in trials:
                    self._write(trials[number])
            except UpdateFinishedTrialError:  # by somebody else
                self._forget(number)

    def moved(self, old: int, new: int) -> None:
        """A trial has got another number."""
        if old in self._open:
            self._open[new] = self._open.pop(old)
        if old in self._due:
            self._due[new] = self._due.pop(old)

    def _write(self, trial: optuna.Trial) -> None:
        number = trial.number
        self._due.pop(number, None)
        known = self._open.get(number)
        if known is None:
            return
        _put(trial, known.part)
        if len(known.entries) > known.written:
            known.written = len(known.entries)
            trial.storage.set_trial_system_attr(trial_id(trial), LOG, known.entries.copy())

    def _known(self, trial: optuna.Trial, number: int) -> _Open:
        found = self._open.get(number)
        if found is None:
            entries = list(_attributes(trial).get(LOG, ()))
            found = self._open[number] = _Open(entries, len(entries))
        return found

    # Of the study

    def record(self, kind: str, why: Mapping[str, Any] | None = None) -> None:
        """Something was decided about the study: stands in the storage at once."""
        if self.is_kept:
            self._study_entry(self._number(), kind, dict(why or {}))

    def _study_entry(self, n: int, kind: str, why: dict[str, Any]) -> None:
        value: Any = {"at": round(self.clock(), 3), "kind": kind, "why": why}
        storage_of(self._study).set_study_system_attr(study_id(self._study), f"{DECISION}{n}", value)

    def begun(self, settings: Mapping[str, Any]) -> None:
        """A controller begins or continues the study.

        Args:
            settings: by which it decides, by name, as JSON types. Only those are written that were others.
        """
        if self.is_kept:
            known = settings_until(self._study_decisions())
            changed = {name: value for name, value in settings.items() if known.get(name, _NONE) != value}
            self.record(BEGUN, {"settings": changed} if changed else {})

    def rewound(self, last: int) -> None:
        """The study was taken back to trial `last`; a study without a log stays without."""
        if self._number_now() > 0:
            self.record(REWOUND, {"trial": last})

    def _study_decisions(self) -> list[Decision]:
        return list(_of_study(storage_of(self._study).get_study_system_attrs(study_id(self._study))))

    def _number(self) -> int:
        """The next place in the log."""
        found = self._number_now()
        self._next = found + 1
        return found

    def _number_now(self) -> int:
        """How many places are taken."""
        if self._next is None:
            self._next = 1 + max(
                (
                    *(found.n for found in self._study_decisions()),
                    *(last_of(trial.system_attrs) for trial in self._study.get_trials(deepcopy=False)),
                ),
                default=-1,
            )
        return self._next


_NONE = object()


def _put(trial: optuna.Trial, part: ReportPart | None) -> None:
    if part is not None and part.is_new:
        part.is_new = False
        trial.storage.set_trial_system_attr(trial_id(trial), f"{LOG}:{part.place}", part.encode())


def _attributes(trial: optuna.Trial) -> dict[str, Any]:
    return trial.storage.get_trial_system_attrs(trial_id(trial))


_sorted_json = json.JSONEncoder(sort_keys=True).encode


def told_sum(params: Mapping[str, Any], values: Sequence[float] | None) -> int:
    """The checksum of what a trial has when it is told.

    Args:
        params: Optuna's name → value.
        values: of a complete trial; None for another.
    """
    kept = [params, None if values is None else list(map(float, values))]
    return zlib.crc32(_sorted_json(kept).encode())


# Reading


def decisions_of(trials: Iterable[FrozenTrial], attributes: Mapping[str, Any]) -> list[Decision]:
    """The log of a study, in its order; empty for a study that has none.

    Args:
        trials: the study's.
        attributes: the study's system attributes.

    Raises:
        BadInput: an entry can't be read.
    """
    found = list(_of_study(attributes))
    for trial in trials:
        found += decisions_of_trial(trial.number, trial.system_attrs)
    return sorted(found, key=lambda decision: decision.n)


def decisions_of_trial(number: int, attributes: Mapping[str, Any]) -> list[Decision]:
    """The decisions about one trial, in their order, by its system attributes. Raises `BadInput`."""
    found: list[Decision] = []
    try:
        for n, at, kind, *why in attributes.get(LOG, ()):
            given = dict(why[0]) if why else {}
            found.append(Decision(n=int(n), at=float(at), kind=str(kind), trial=number, why=given))
        for place in range(_parts_in(attributes)):
            found += (
                Decision(n=n, at=at, kind=REPORTED, trial=number, why=why)
                for n, at, why in reports_in(attributes[f"{LOG}:{place}"])
            )
    except (TypeError, ValueError, IndexError, KeyError) as error:
        raise BadInput(f"trial {number}: its decisions can't be read: {error}") from error
    return sorted(found, key=lambda decision: decision.n)


def settings_until(decisions: Iterable[Decision], n: int | None = None) -> dict[str, Any]:
    """The settings that held at a place of the log, at its end by default; see `DecisionLog.begun`."""
    found: dict[str, Any] = {}
    for decision in decisions:
        if decision.kind == BEGUN and (n is None or decision.n <= n):
            found |= decision.why.get("settings", {})
    return found


def last_of(attributes: Mapping[str, Any]) -> int:
    """The last place in the log that a trial has, by its system attributes; -1 for none."""
    try:
        entries, parts = attributes.get(LOG), _parts_in(attributes)
        found = int(entries[-1][0]) if entries else -1
        return max(found, int(attributes[f"{LOG}:{parts - 1}"][3])) if parts else found
    except (TypeError, ValueError, IndexError, KeyError):
        return -1


def _parts_in(attributes: Mapping[str, Any]) -> int:
    count = 0
    while f"{LOG}:{count}" in attributes:
        count += 1
    return count


def _of_study(attributes: Mapping[str, Any]) -> Iterator[Decision]:
    found = []
    for key, value in attributes.items():
        if not key.startswith(DECISION):
            continue
        try:
            n, at, kind = int(key.removeprefix(DECISION)), float(value["at"]), str(value["kind"])
            why = dict(value["why"])
            why.update({"settings": dict(why["settings"])} if "settings" in why else {})
            found.append(Decision(n=n, at=at, kind=kind, why=why))
        except (TypeError, ValueError, KeyError) as error:
            raise BadInput(f"decision {key.removeprefix(DECISION):.20} can't be read: {error}") from error
    yield from sorted(found, key=lambda decision: decision.n)
