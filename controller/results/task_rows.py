"""A study's tasks as the rows of one table, kept in memory between questions."""

from __future__ import annotations

import math
import threading
from collections import Counter, OrderedDict
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from itertools import pairwise
from sys import intern
from typing import Any

from controller.results.parameters import as_written
from controller.results.tasks import why
from worker.protocol import Status, Store, StudyRecord, Summary, TaskRecord, keys
from worker.protocol.clock import iso
from worker.protocol.values import bare

OWN = (
    "trial", "task", "status", "reason", "reason_class", "attempt", "seconds", "worker", "started_at",
    "ended_at", "tags", "note",
)  # fmt: skip
"""Columns that every study has, in the order of a row's first cells."""
MONITOR = ":monitor:"
"""Metrics of the machine begin so; they are no columns."""

CHUNK = 500
"""Tasks in one round trip."""
MOST_STUDIES = 8
"""Studies of which rows are kept."""
OVERLAP_S = 5.0
"""What was touched so long before the last look is read again, in seconds: a write may take a while."""

Row = tuple[Any, ...]
"""The cells of `OWN`, then those of metrics and parameters by `TaskRows.columns`; shorter where the last are
missing. None is missing, too."""

_TRIAL, _TASK, _STATUS = (OWN.index(name) for name in ("trial", "task", "status"))
_FINISHED = frozenset(status.value for status in Status if status.is_finished)


class TaskRows:
    """The rows of one study. Those of ended tasks are read once, and again when somebody has tagged them.

    Thread-safe.
    """

    def __init__(self, store: Store, study: StudyRecord) -> None:
        self._store = store
        self._study = study
        self._objectives = [metric.key for metric in study.metrics]
        self._places: dict[tuple[str, str], int] = {}
        """(``metric`` or ``parameter``, name) → place in a row."""
        self._growing = threading.Lock()
        self._filling = threading.Lock()
        self._warming = threading.Lock()
        self._reading: tuple[threading.Thread, list[Exception]] | None = None
        self._rows: dict[str, Row | None] = {}
        """By trial; None for a task whose record can't be read."""
        self._open: set[str] = set()
        """Ids of those that may change by themselves."""
        self._last_trial = -1.0
        self._looked_at = 0.0
        self.wanted = 0
        """How many rows are to be read just now."""
        self.ready = False
        """Whether all rows have been read once: another look costs little."""
        for key in self._objectives:
            self._place("metric", key)

    def columns(self) -> dict[str, int]:
        """Name → place in a row: own columns, objectives, parameters, other metrics, of what was read so far.

        What has the name of another before it is called ``metric/NAME`` or ``parameter/NAME``.
        """
        with self._growing:
            places = list(self._places.items())
        found = {name: place for place, name in enumerate(OWN)}
        groups = (
            [(kind, name, place) for (kind, name), place in places if name in self._objectives],
            [(kind, name, place) for (kind, name), place in places if kind == "parameter"],
            [(kind, name, place) for (kind, name), place in places if kind == "metric"],
        )
        seen: set[int] = set()
        for kind, name, place in (one for group in groups for one in group):
            if place not in seen:
                seen.add(place)
                found[name if name not in found else f"{kind}/{name}"] = place
        return found

    def names(self) -> dict[str, int]:
        """As `columns`, and parameters without their section too, where that name is free: ``General/lr`` is
        also ``lr``."""
        found = self.columns()
        with self._growing:
            parameters = [
                (name, place) for (kind, name), place in self._places.items() if kind == "parameter"
            ]
        short = Counter(bare(name) for name, _ in parameters)
        for name, place in parameters:
            if short[bare(name)] == 1:
                found.setdefault(bare(name), place)
        return found

    def place_of(self, metric: str) -> int | None:
        """The place of a metric; None for one that no task has had so far."""
        with self._growing:
            return self._places.get(("metric", metric))

    def parameters(self) -> set[int]:
        """The places of parameters."""
        with self._growing:
            return {place for (kind, _), place in self._places.items() if kind == "parameter"}

    def read(self, task_ids: Sequence[str]) -> list[Row]:
        """The rows of these tasks as they are now, in this order; without those that can't be read."""
        found = [self._read_chunk(task_ids[i : i + CHUNK]) for i in range(0, len(task_ids), CHUNK)]
        rows = {task_id: row for chunk in found for task_id, row in chunk.items()}
        return [row for task_id in task_ids if (row := rows[task_id]) is not None]

    def all(self) -> list[Row]:
        """The rows of all tasks by trial, as they are now."""
        with self._filling:
            now = self._store.clock.now()
            self._load(self._stale())
            self._looked_at = now
            self.ready = True
            return [row for row in self._rows.values() if row is not None]

    def warm(self) -> None:
        """Read all rows, once; several threads that ask for it wait for the first."""
        with self._warming:
            if not self.ready:
                self.all()

    def wait(self, patience_s: float) -> bool:
        """Whether all rows have been read; a thread does it, which is waited for so long.

        Raises:
            Exception: what that thread has failed of.
        """
        if self.ready:
            return True
        thread, failures = self.begin()
        thread.join(patience_s)
        if failures:
            raise failures[0]
        return self.ready

    def begin(self) -> tuple[threading.Thread, list[Exception]]:
        """Have a thread read all rows, unless one does. Returns it, and what it has failed of."""
        with self._growing:
            if self._reading is None or not self._reading[0].is_alive():
                failures: list[Exception] = []

                def read() -> None:
                    try:
                        self.warm()
                    except Exception as error:
                        failures.append(error)

                # A daemon: a page that ends waits for no rows.
                self._reading = threading.Thread(target=read, name="rows of a study", daemon=True), failures
                self._reading[0].start()
            return self._reading

    @property
    def progress(self) -> tuple[int, int]:
        """How many rows have been read, and how many there are to read."""
        return len(self._rows), max(self.wanted, len(self._rows))

    def _stale(self) -> list[str]:
        """The tasks whose rows are missing, or may have changed."""
        name = self._study.name
        with self._store.redis.pipeline(transaction=False) as pipe:
            pipe.zcard(keys.study_tasks(name))
            pipe.zrange(keys.study_tasks(name), f"({self._last_trial!r}", "+inf", byscore=True)
            count, new = pipe.execute()
        missing = [task_id for task_id in new if task_id not in self._rows]
        if count != len(self._rows) + len(missing):  # taken back, or not in the order of their trials
            ids = self._store.studies.tasks(name)
            for gone in self._rows.keys() - set(ids):
                del self._rows[gone]
                self._open.discard(gone)
            missing = [task_id for task_id in ids if task_id not in self._rows]
        touched = self._store.labels.touched(name, self._looked_at - OVERLAP_S)
        again = [task_id for task_id in touched if task_id in self._rows]
        return list(dict.fromkeys([*missing, *again, *self._open]))

    def _load(self, task_ids: Sequence[str]) -> None:
        self.wanted = len(self._rows.keys() | set(task_ids))
        for start in range(0, len(task_ids), CHUNK):
            for task_id, row in self._read_chunk(task_ids[start : start + CHUNK]).items():
                self._rows[task_id] = row
                ended = row is not None and row[_STATUS] in _FINISHED
                (self._open.discard if ended else self._open.add)(task_id)
        trials = [row[_TRIAL] for row in self._rows.values() if row is not None]
        if any(one > other for one, other in pairwise(trials)):
            by_trial = sorted(self._rows.items(), key=lambda item: item[1][_TRIAL] if item[1] else -1)
            self._rows = dict(by_trial)
        self._last_trial = float(max(trials, default=-1))

    def _read_chunk(self, task_ids: Sequence[str]) -> dict[str, Row | None]:
        # The record first: where it says that the task has ended, the scalars are its last.
        records = self._store.tasks.get_many(task_ids)
        there = [record for record in records if record is not None]
        scalars = self._store.reports.scalars([record.id for record in there], leave_out=MONITOR)
        found: dict[str, Row | None] = dict.fromkeys(task_ids)
        now = self._store.clock.now()
        for record, values in zip(there, scalars, strict=True):
            found[record.id] = self._row(record, values, now)
        return found

    def _row(self, record: TaskRecord, scalars: Mapping[str, Summary], now: float) -> Row:
        cells: list[Any] = [
            record.trial,
            record.id,
            record.status.value,
            intern(why(record)),
            record.reason_class.value if record.reason_class else "",
            record.attempt,
            _seconds(record, now),
            intern(record.worker),
            iso(record.started_at),
            iso(record.ended_at),
            record.all_tags,
            record.note,
        ]
        for name, value in as_written(record, everything=False).items():
            self._put(cells, "parameter", name, intern(value) if type(value) is str else value)
        for key, summary in scalars.items():
            if math.isfinite(summary.last):
                self._put(cells, "metric", key, summary.last)
        return tuple(cells)

    def _put(self, cells: list[Any], kind: str, name: str, value: Any) -> None:
        place = self._places.get((kind, name))
        if place is None:
            place = self._place(kind, name)
        if place >= len(cells):
            cells += [None] * (place + 1 - len(cells))
        cells[place] = value

    def _place(self, kind: str, name: str) -> int:
        with self._growing:
            return self._places.setdefault((kind, name), len(OWN) + len(self._places))


def _seconds(record: TaskRecord, now: float) -> float:
    """What a task has computed; while it runs, so far."""
    runs = record.status is Status.IN_PROGRESS and record.started_at is not None
    return round(record.compute_s + (max(0.0, now - (record.started_at or now)) if runs else 0.0), 1)


class RowsKept:
    """The rows of the studies that were last asked for. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._kept: OrderedDict[str, tuple[float, Store, TaskRows]] = OrderedDict()

    def of(self, store: Store, study: StudyRecord) -> TaskRows:
        """The rows of a study; none of those of an earlier study of that name, or from another store."""
        with self._lock:
            created_at, of_store, rows = self._kept.get(study.name, (None, None, None))
            if rows is None or created_at != study.created_at or of_store is not store:
                rows = TaskRows(store, study)
                self._kept[study.name] = study.created_at, store, rows
            self._kept.move_to_end(study.name)
            while len(self._kept) > MOST_STUDIES:
                self._kept.popitem(last=False)
            return rows


def cell(row: Row, place: int) -> Any:
    """A cell; None where the row lacks it."""
    return row[place] if place < len(row) else None


def getters(columns: Mapping[str, int]) -> dict[str, Callable[[Row], Any]]:
    """What reads each column of a row."""
    return {name: _getter(place) for name, place in columns.items()}


def _getter(place: int) -> Callable[[Row], Any]:
    if place < len(OWN):
        return lambda row: row[place]
    return lambda row: row[place] if place < len(row) else None


def merged_rows(rows: Iterable[Row], parameters: Collection[int]) -> list[tuple[Row, list[int]]]:
    """As `controller.results.standing.merged`: an interrupted task and its retry as one, the retry.

    Args:
        parameters: the places of parameters.
    """
    rows = list(rows)
    reason = OWN.index("reason_class")
    if not any(row[reason] == "study_stopped" for row in rows):
        return [(row, []) for row in rows]
    places = sorted(parameters)
    alike: dict[str, list[Row]] = {}
    for row in rows:
        chosen = [cell(row, place) for place in places]
        alike.setdefault(repr(chosen) if any(one is not None for one in chosen) else row[_TASK], []).append(
            row
        )
    earlier: dict[str, list[int]] = {}
    gone = set()
    for group in alike.values():
        for row in group[:-1]:
            if row[reason] == "study_stopped":
                gone.add(row[_TASK])
                earlier.setdefault(group[-1][_TASK], []).append(row[_TRIAL])
    return [(row, earlier.get(row[_TASK], [])) for row in rows if row[_TASK] not in gone]
