"""A study's tasks as a table: filtered, sorted, page by page; what `controller tasks` and the page show."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from controller.results.objective_order import ordered_ids
from controller.results.task_rows import OWN, Row, TaskRows, cell, getters, merged_rows
from controller.results.tasks import task_dicts
from controller.results.where import Where, unknown
from worker.protocol import Status, Store, StudyRecord, keys
from worker.protocol.errors import BadInput

_LAST = ("seconds", "worker", "reason", "tags", "note")
"""Own columns that stand behind values and parameters."""
_HIDDEN = ("task", "reason_class", "attempt", "started_at", "ended_at")
"""Own columns that are shown when they are asked for."""


MOST_FRESH = 1000
"""Rows of one page that are read again before they are shown."""


@dataclass(frozen=True, kw_only=True)
class Query:
    """What somebody wants to see of a study's tasks."""

    where: str = ""
    """A filter expression, see `controller.results.where`; empty for all tasks."""
    status: Status | None = None
    """Only those in this status."""
    sort: str = ""
    """Name of a column; with ``-`` before it the highest value first. Empty: by trial."""
    columns: tuple[str, ...] = ()
    """Names of columns, in this order; empty for the usual ones."""
    start: int = 0
    """How many to pass over."""
    count: int | None = None
    """How many at most."""

    @property
    def by(self) -> str:
        """The column that it is sorted by."""
        return self.sort.removeprefix("-") or "trial"

    @property
    def needs_all(self) -> bool:
        """Whether all rows have to be looked at: the indexes don't answer it."""
        return bool(self.where.strip()) or self.by != "trial" or self.count is None

    @property
    def descends(self) -> bool:
        return self.sort.startswith("-")


@dataclass(frozen=True, kw_only=True)
class TaskPage:
    """Some of a study's tasks."""

    columns: tuple[str, ...]
    """Names of the columns that are shown, in order."""
    available: tuple[str, ...]
    """Names of all columns, as far as they are known."""
    rows: list[dict[str, Any]]
    """For each task its ``task`` (id) and its cells by name; a missing one is None. JSON types."""
    total: int
    """Tasks of the study."""
    matching: int
    """Those of them that match."""
    start: int
    numeric: frozenset[str]
    """Names of the columns that hold numbers only, of those shown."""


def find_page(store: Store, study: StudyRecord, rows: TaskRows, query: Query) -> TaskPage:
    """A page of a study's tasks.

    Without a filter and by trial it comes from the indexes, in O(log n + page), and by an objective from the
    ranking index until all rows are known; else all rows are looked at, which are read for the first such
    question.

    Args:
        rows: of this study.

    Raises:
        WhereError: the filter can't be read, or names a column that no task has.
        BadInput: so does the order, or the choice of columns.
    """
    page = indexed_page(store, study, rows, query)
    if page is not None:
        return page
    where = Where.parse(query.where) if query.where.strip() else None
    chosen = selected(rows.all(), rows.names, where, query)
    end = None if query.count is None else query.start + query.count
    found = chosen[query.start : end]
    if len(found) <= MOST_FRESH:
        found = rows.read([row[OWN.index("task")] for row in found])
    return _page(store, study, rows, query, found, len(chosen))


def indexed_page(store: Store, study: StudyRecord, rows: TaskRows, query: Query) -> TaskPage | None:
    """As `find_page`, from the indexes alone; None where these don't say."""
    indexed = _indexed(store, study, query) or _by_objective(store, study, rows, query)
    if indexed is None:
        return None
    ids, matching = indexed
    found = rows.read(ids)
    if set(query.columns) - rows.names().keys() and not rows.ready:
        return None  # rows of other pages may have more columns
    return _page(store, study, rows, query, found, matching)


def _page(
    store: Store, study: StudyRecord, rows: TaskRows, query: Query, found: list[Row], matching: int
) -> TaskPage:
    columns, names = rows.columns(), rows.names()
    for name in query.columns:
        check_column(name, names, "columns")
    shown = tuple(dict.fromkeys(query.columns)) or _usual(columns, study, rows.parameters())
    places = {name: names[name] for name in ("task", *shown)}
    return TaskPage(
        columns=shown,
        available=tuple(columns),
        rows=[_cells(row, places) for row in found],
        total=int(store.redis.zcard(keys.study_tasks(study.name))),
        matching=matching,
        start=query.start,
        numeric=frozenset(name for name in shown if _is_numeric(found, names[name])),
    )


def find_rows(rows: TaskRows, query: Query) -> tuple[list[tuple[Row, list[int]]], dict[str, int]]:
    """The tasks that a query is about, an interrupted one and its retry as one; and their columns.

    Returns:
        Each row with the numbers of the trials that it stands for; see `TaskRows.names`.

    Raises:
        WhereError, BadInput: as `find_page`.
    """
    where = Where.parse(query.where) if query.where.strip() else None
    every = rows.all()
    merged = merged_rows(every, rows.parameters()) if query.status is None else [(row, []) for row in every]
    earlier = {id(row): numbers for row, numbers in merged}
    chosen = selected([row for row, _ in merged], rows.names, where, query)
    if query.count is not None:
        # Without an order the newest, as ever; the order of trials stays.
        chosen = chosen[: query.count] if query.sort else chosen[-query.count :]
    return [(row, earlier[id(row)]) for row in chosen], rows.names()


def filter_tasks(store: Store, study: StudyRecord, query: Query) -> list[dict[str, Any]]:
    """The tasks that a query is about, as `controller.results.tasks.list_tasks` returns them, or their cells
    of the columns that it chooses.

    Raises:
        WhereError, BadInput: as `find_page`.
    """
    found, columns = find_rows(TaskRows(store, study), query)
    if query.columns:
        return chosen_cells([row for row, _ in found], columns, query.columns)
    records = store.tasks.get_many([row[OWN.index("task")] for row, _ in found])
    numbers = [earlier for _, earlier in found]
    there = [(one, earlier) for one, earlier in zip(records, numbers, strict=True) if one is not None]
    return task_dicts(store, study, there)


def selected(
    rows: Sequence[Row], names: Callable[[], Mapping[str, int]], where: Where | None, query: Query
) -> list[Row]:
    """The rows that match, in the order asked for; rows without a value of that column are the last.

    Args:
        rows: by trial.
        names: of their columns, see `TaskRows.names`.

    Raises:
        WhereError, BadInput: as `find_page`.
    """
    found = list(rows)
    if query.status is not None:
        place, value = OWN.index("status"), query.status.value
        found = [row for row in found if row[place] == value]
    if where is not None and rows:  # names of a study without tasks are not known yet
        matches = where.compile(getters(names()))
        found = [row for row in found if matches(row)]
    if query.by == "trial":
        return found[::-1] if query.descends else found
    columns = names()
    check_column(query.by, columns, "sort")
    get = getters(columns)[query.by]
    present = [row for row in found if get(row) is not None]
    missing = [row for row in found if get(row) is None]
    return sorted(present, key=lambda row: _sortable(get(row)), reverse=query.descends) + missing


def check_column(name: str, columns: Mapping[str, int], what: str) -> None:
    """Raises `BadInput` for a name that no column has."""
    if name not in columns:
        # Outside of expressions, names stand without backticks.
        raise BadInput(f"{what}: {unknown(name, columns).replace('`', '')}")


def chosen_cells(
    rows: Iterable[Row], columns: Mapping[str, int], names: Sequence[str]
) -> list[dict[str, Any]]:
    """For each row its cells of these columns, by name. Raises `BadInput`."""
    for name in names:
        check_column(name, columns, "columns")
    places = {name: columns[name] for name in names}
    return [_cells(row, places) for row in rows]


def _cells(row: Row, places: Mapping[str, int]) -> dict[str, Any]:
    cells = {name: cell(row, place) for name, place in places.items()}
    return {name: list(value) if isinstance(value, tuple) else value for name, value in cells.items()}


def _sortable(value: Any) -> tuple[int, Any]:
    """Numbers before texts."""
    if isinstance(value, (int, float)):
        return 0, value
    return 1, value if isinstance(value, str) else " ".join(map(str, value))


def _usual(columns: Mapping[str, int], study: StudyRecord, parameters: Collection[int]) -> tuple[str, ...]:
    """The columns that most people want to see."""
    objectives = {metric.key for metric in study.metrics}
    return (
        *(name for name in OWN if name not in (*_LAST, *_HIDDEN)),
        *(name for name in columns if name not in OWN and name.removeprefix("metric/") in objectives),
        *(name for name, place in columns.items() if place in parameters),
        *_LAST,
    )


def _is_numeric(rows: Sequence[Row], place: int) -> bool:
    values = [value for row in rows if (value := cell(row, place)) is not None]
    return bool(values) and all(
        isinstance(value, (int, float)) and not isinstance(value, bool) for value in values
    )


def _by_objective(
    store: Store, study: StudyRecord, rows: TaskRows, query: Query
) -> tuple[list[str], int] | None:
    """As `_indexed`, of tasks in the order of an objective."""
    if rows.ready or query.where.strip() or query.status is not None or query.count is None:
        return None
    ids = ordered_ids(store, study, rows, query.by, descends=query.descends)
    return None if ids is None else (ids[query.start : query.start + query.count], len(ids))


def _indexed(store: Store, study: StudyRecord, query: Query) -> tuple[list[str], int] | None:
    """Ids of a page and how many there are in all, from the indexes; None where these don't say."""
    if query.needs_all or query.count is None:
        return None
    own = keys.study_tasks(study.name)
    key = own if query.status is None else keys.study_status(study.name, query.status)
    start, end = query.start, query.start + query.count - 1
    with store.redis.pipeline(transaction=False) as pipe:
        pipe.zcard(key)
        (pipe.zrevrange if query.descends else pipe.zrange)(key, start, end)
        matching, ids = pipe.execute()
    # Workers write the lists by status: what the study's own list lacks is left out.
    return (ids if query.status is None else store.studies.own(study.name, ids)), int(matching)
