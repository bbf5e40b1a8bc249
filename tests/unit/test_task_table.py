"""Tasks as a table: rows that are kept, what they are filtered and sorted by, pages from the index."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import fakeredis
import pytest

from controller.results import objective_order
from controller.results.task_rows import RowsKept, TaskRows
from controller.results.task_table import Query, TaskPage, filter_tasks, find_page, indexed_page
from controller.results.where import WhereError
from tests.fakes import ACCURACY, LOSS, ManualClock, record
from worker.protocol import (
    ObjectiveMetric,
    Reason,
    Status,
    Store,
    StudyRecord,
    Summary,
    TaskRecord,
    TaskSpec,
    keys,
)
from worker.protocol.copies import TaskCopy, write_tasks
from worker.protocol.errors import BadInput
from worker.protocol.metrics import Sign
from worker.protocol.printable import one_line

STUDY = StudyRecord(name="s", created_at=1.0, metrics=(LOSS,))


@pytest.fixture
def store() -> Store:
    found = Store(fakeredis.FakeRedis(decode_responses=True), ManualClock())
    found.studies.save(STUDY)
    return found


def spec(**parameters: Any) -> TaskSpec:
    return TaskSpec(parameters=parameters, metrics=(LOSS,))


def put(store: Store, *tasks: TaskRecord, **values: Iterable[float]) -> None:
    """Write tasks, and for each metric the value of each task."""
    copies = []
    for place, task in enumerate(tasks):
        summaries = [Summary.of(name, "").add(list(found)[place], 0) for name, found in values.items()]
        copies.append(TaskCopy(record=task, scalars={summary.key: summary for summary in summaries}))
    write_tasks(store, copies)


def ended(trial: int, status: Status = Status.COMPLETED, **parameters: Any) -> TaskRecord:
    return record(id=f"{trial:032x}", trial=trial, status=status, spec=spec(**parameters))


def five(store: Store) -> None:
    put(
        store,
        *(ended(n, lr=10.0**-n, opt="adam" if n % 2 else "sgd") for n in range(4)),
        ended(4, Status.FAILED, lr=1.0, opt="sgd", momentum=0.5),
        loss=[3.0, 1.0, 2.0, float("nan"), 0.5],
        other=[1, 2, 3, 4, 5],
    )


def page(store: Store, rows: TaskRows | None = None, **query: Any) -> TaskPage:
    return find_page(store, STUDY, rows or TaskRows(store, STUDY), Query(**query))


def trials(found: TaskPage) -> list[int]:
    return [int(row["task"], 16) for row in found.rows]


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ({}, [0, 1, 2, 3, 4]),
        ({"sort": "-trial"}, [4, 3, 2, 1, 0]),
        ({"sort": "-trial", "start": 1, "count": 2}, [3, 2]),
        ({"start": 3, "count": 9}, [3, 4]),
        ({"start": 9, "count": 9}, []),
        ({"status": Status.COMPLETED, "start": 1, "count": 2}, [1, 2]),
        ({"status": Status.FAILED, "count": 2}, [4]),
        ({"sort": "loss"}, [4, 1, 2, 0, 3]),
        ({"sort": "-loss"}, [0, 2, 1, 4, 3]),
        ({"sort": "-loss", "start": 1, "count": 2}, [2, 1]),
        ({"sort": "momentum"}, [4, 0, 1, 2, 3]),
        ({"sort": "opt"}, [1, 3, 0, 2, 4]),
        ({"sort": "-opt"}, [0, 2, 4, 1, 3]),
        ({"where": "lr < 0.5"}, [1, 2, 3]),
        ({"where": "lr < 0.5", "sort": "-trial", "count": 2}, [3, 2]),
        ({"where": "lr == 1", "status": Status.FAILED}, [4]),
        ({"where": "momentum < 1 or loss == 1"}, [1, 4]),
        ({"where": "not momentum < 1"}, []),
        ({"where": "other > 3 and loss is None"}, [3]),
        ({"where": 'task == "00000000000000000000000000000002"'}, [2]),
    ],
)
def test_what_is_shown_of_a_study(store: Store, query: dict[str, Any], expected: list[int]) -> None:
    five(store)
    found = page(store, **query)
    assert trials(found) == expected
    assert (found.total, found.start) == (5, query.get("start", 0))
    assert found.matching >= len(expected)


@pytest.mark.parametrize("metric", [LOSS, ACCURACY], ids=lambda metric: metric.key)
@pytest.mark.parametrize("way", ["", "-"])
def test_the_order_of_an_objective_comes_from_the_ranking_index(
    store: Store, metric: ObjectiveMetric, way: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    study = replace(STUDY, metrics=(metric,))
    values = [0.3, 0.1, float("nan"), 0.1, 0.7, 0.2, 0.5]
    tasks = [ended(n, Status.FAILED if n == 6 else Status.COMPLETED, lr=1.0) for n in range(7)]
    tasks = [replace(task, spec=replace(task.spec, metrics=(metric,))) for task in tasks]
    put(store, *tasks, **{metric.key: values})
    # Workers write the index: one that failed is not in it, and a stranger is.
    store.redis.zrem(keys.rank("s"), tasks[6].id)
    store.redis.zadd(keys.rank("s"), {"f" * 32: -9.0})
    known = TaskRows(store, study)
    known.all()
    queries = [Query(sort=f"{way}{metric.key}", start=start, count=2) for start in range(0, 7, 2)]
    expected = [find_page(store, study, known, query) for query in queries]
    monkeypatch.setattr(TaskRows, "all", lambda rows: pytest.fail("all rows are read"))
    assert [find_page(store, study, TaskRows(store, study), query) for query in queries] == expected
    assert [row["trial"] for row in expected[-1].rows] == [2]


@pytest.mark.parametrize(
    ("query", "sign"),
    [({"sort": "lr"}, Sign.MIN), ({"sort": "loss", "where": "lr > 0"}, Sign.MIN), ({"sort": "loss"}, Sign.MIN_GLOBAL),
     ({"sort": "loss", "status": Status.COMPLETED}, Sign.MIN)],
)  # fmt: skip
def test_what_the_ranking_index_does_not_say(store: Store, query: dict[str, Any], sign: Sign) -> None:
    five(store)
    study = replace(STUDY, metrics=(replace(LOSS, sign=sign),))
    assert indexed_page(store, study, TaskRows(store, study), Query(count=2, **query)) is None


def test_too_many_that_are_not_ranked(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    five(store)
    monkeypatch.setattr(objective_order, "MOST_UNRANKED", 0)
    assert indexed_page(store, STUDY, TaskRows(store, STUDY), Query(sort="loss", count=2)) is None


def test_how_many_match(store: Store) -> None:
    five(store)
    assert page(store, count=2).matching == 5
    assert page(store, count=1, status=Status.COMPLETED).matching == 4
    assert page(store, count=1, where="lr < 0.5").matching == 3
    assert page(store, count=1, where="lr < 0.5", status=Status.FAILED).matching == 0


def test_columns(store: Store) -> None:
    five(store)
    found = page(store, count=5)
    assert found.columns == (
        "trial", "status", "loss", "lr", "opt", "momentum", "seconds", "worker", "reason", "tags", "note",
    )  # fmt: skip
    assert set(found.available) == {
        *found.columns, "task", "reason_class", "attempt", "started_at", "ended_at", "other",
    }  # fmt: skip
    assert found.numeric == {"trial", "loss", "lr", "momentum", "seconds"}
    assert found.rows[0] == {
        "task": f"{0:032x}", "trial": 0, "status": "completed", "loss": 3.0, "lr": 1.0, "opt": "sgd",
        "momentum": None, "seconds": 0.0, "worker": "", "reason": "", "tags": [], "note": "",
    }  # fmt: skip
    chosen = page(store, count=1, columns=("momentum", "other", "momentum"))
    assert chosen.columns == ("momentum", "other")
    assert chosen.rows == [{"task": f"{0:032x}", "momentum": None, "other": 1.0}]


def test_the_machines_metrics_are_no_columns(store: Store) -> None:
    machine = Summary.of(":monitor:machine", "cpu_percent").add(50.0, 0)
    own = Summary.of("loss", "").add(0.5, 0)
    write_tasks(store, [TaskCopy(record=ended(0, lr=1.0), scalars={one.key: one for one in (machine, own)})])
    assert not [name for name in page(store, where="loss < 1").available if "monitor" in name]


def test_names_that_are_taken(store: Store) -> None:
    task = record(
        trial=0, spec=TaskSpec(parameters={"loss": 1, "status": "x", "other": 2, "b": 3}, metrics=(LOSS,))
    )
    put(store, task, loss=[0.5], other=[7], note=[8])
    (row,) = page(store, columns=tuple(page(store).available)).rows
    assert (row["loss"], row["parameter/loss"]) == (0.5, 1)
    assert (row["status"], row["parameter/status"]) == ("created", "x")
    assert (row["other"], row["metric/other"]) == (2, 7.0)
    assert (row["note"], row["metric/note"]) == ("", 8.0)
    assert page(store, where="`parameter/loss` == 1 and loss == 0.5").matching == 1


@pytest.mark.parametrize(
    ("query", "problem"),
    [
        ({"sort": "lss", "count": 1}, "sort: there is no lss; did you mean loss?"),
        ({"columns": ("loss", "lrr"), "count": 1}, "columns: there is no lrr; did you mean lr?"),
        ({"where": "lrr < 1"}, "filter, column 1: there is no lrr; did you mean lr?"),
        ({"where": "lr <"}, "filter, column 5"),
    ],
)
def test_names_that_nothing_has(store: Store, query: dict[str, Any], problem: str) -> None:
    five(store)
    with pytest.raises(BadInput) as caught:
        page(store, **query)
    assert str(caught.value).startswith(problem)


def test_a_column_of_another_page_is_known(store: Store) -> None:
    five(store)
    assert page(store, count=1, columns=("momentum",)).rows == [{"task": f"{0:032x}", "momentum": None}]


def test_a_study_without_tasks(store: Store) -> None:
    found = page(store, where="lr < 1", sort="-trial", count=5)
    assert (found.rows, found.total, found.matching) == ([], 0, 0)
    assert "loss" in found.columns
    with pytest.raises(WhereError):
        page(store, where="lr <")


class Counting:
    """Counts the records that are read."""

    def __init__(self, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
        self.ids: list[str] = []
        inner = store.tasks.get_many

        def get_many(task_ids: Any) -> Any:
            self.ids += task_ids
            return inner(task_ids)

        monkeypatch.setattr(store.tasks, "get_many", get_many)

    def taken(self) -> list[int]:
        found, self.ids = self.ids, []
        return sorted(int(task_id, 16) for task_id in found)


def test_ended_tasks_are_read_once(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    five(store)
    store.tasks.create(ended(5, Status.CREATED, lr=0.5))
    read, rows = Counting(store, monkeypatch), TaskRows(store, STUDY)
    assert len(rows.all()) == 6
    assert read.taken() == [0, 1, 2, 3, 4, 5]
    rows.all()
    assert read.taken() == [5]
    store.tasks.create(ended(7, Status.CREATED, lr=0.5))
    store.transitions.force_finish(f"{5:032x}", Reason.USER, "by hand")
    assert [row[0] for row in rows.all()] == [0, 1, 2, 3, 4, 5, 7]
    assert read.taken() == [5, 7]
    store.tasks.create(ended(6, Status.CREATED, lr=0.5))  # out of turn
    assert [row[0] for row in rows.all()] == [0, 1, 2, 3, 4, 5, 6, 7]
    assert read.taken() == [6, 7]


def test_a_running_task_has_computed_so_far(store: Store) -> None:
    store.tasks.create(ended(0, Status.QUEUED, lr=0.5))
    store.transitions.start(f"{0:032x}", 1, "w/0")
    rows = TaskRows(store, STUDY)
    for seconds in (0.0, 60.0, 120.0):
        assert page(store, rows, where="seconds >= 0").rows[0]["seconds"] == seconds
        store.clock.sleep(60)  # type: ignore[attr-defined] # tests' clock


def test_a_tagged_task_is_read_again(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    five(store)
    read, rows = Counting(store, monkeypatch), TaskRows(store, STUDY)
    rows.all()
    store.clock.sleep(60)  # type: ignore[attr-defined] # tests' clock
    assert page(store, rows, where='"good" in tags').matching == 0
    read.taken()
    store.labels.tag(f"{3:032x}", ["good"])
    store.labels.note(f"{4:032x}", "look at this")
    assert trials(page(store, rows, where='"good" in tags or "look" in note')) == [3, 4]
    assert read.taken() == [3, 3, 4, 4]  # and those that are shown are read as they are now


def test_tasks_that_went_are_forgotten_and_those_that_come_again_are_read(store: Store) -> None:
    five(store)
    rows = TaskRows(store, STUDY)
    rows.all()
    for number in (3, 4):
        store.tasks.remove(store.tasks.get(f"{number:032x}"))
    store.labels.touch("s", [f"{number:032x}" for number in (3, 4)])
    assert trials(page(store, rows, where="lr < 9")) == [0, 1, 2]
    store.tasks.create(ended(3, lr=0.25))
    assert trials(page(store, rows, where="lr == 0.25")) == [3]
    store.tasks.remove(store.tasks.get(f"{3:032x}"))
    store.labels.touch("s", [f"{3:032x}"])
    store.tasks.create(ended(3, lr=0.75))  # between two looks
    assert trials(page(store, rows, where="lr == 0.75")) == [3]


def test_a_spoiled_record_hides_no_other(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    five(store)
    store.redis.hset(keys.task(f"{2:032x}"), "spec", "x")
    read, rows = Counting(store, monkeypatch), TaskRows(store, STUDY)
    assert [row[0] for row in rows.all()] == [0, 1, 3, 4]
    read.taken()
    assert [row[0] for row in rows.all()] == [0, 1, 3, 4]
    assert read.taken() == [2]
    assert trials(page(store, count=9)) == [0, 1, 3, 4]


def test_what_a_worker_lists_by_status_is_not_shown_unless_it_is_the_studys(store: Store) -> None:
    five(store)
    store.redis.zadd(keys.study_status("s", Status.COMPLETED), {"f" * 32: 9})
    store.tasks.create(record(id="f" * 32, study="other"))
    assert trials(page(store, status=Status.COMPLETED, count=9)) == [0, 1, 2, 3]


def test_rows_of_studies_are_kept_apart(store: Store) -> None:
    kept = RowsKept()
    first = kept.of(store, STUDY)
    assert kept.of(store, replace(STUDY, state="completed")) is first
    assert kept.of(store, replace(STUDY, created_at=2.0)) is not first
    second = kept.of(store, STUDY)
    assert second is not first
    assert kept.of(Store(store.redis), STUDY) is not second
    third = kept.of(store, STUDY)
    for number in range(20):
        kept.of(store, replace(STUDY, name=f"s{number}"))
    assert kept.of(store, STUDY) is not third


def test_the_rows_of_a_command(store: Store) -> None:
    interrupted = replace(ended(0, Status.STOPPED, lr=0.5), reason_class=Reason.STUDY_STOPPED)
    put(store, interrupted, ended(1, lr=0.5), ended(2, lr=0.25), loss=[3, 2, 1])
    (found,) = filter_tasks(store, STUDY, Query(where="lr == 0.5", count=9))
    assert (found["trial"], found["retries"], found["loss"]) == (1, [0], 2.0)
    assert found["hyper_parameters"] == {"lr": 0.5}
    (found,) = filter_tasks(store, STUDY, Query(where="lr == 0.5", status=Status.STOPPED, count=9))
    assert (found["trial"], found["retries"]) == (0, [])
    assert [row["trial"] for row in filter_tasks(store, STUDY, Query(where="lr > 0", count=1))] == [2]
    assert [row["trial"] for row in filter_tasks(store, STUDY, Query(sort="-loss", count=1))] == [1]
    columns = ("loss", "tags")
    assert filter_tasks(store, STUDY, Query(columns=columns, count=1)) == [{"loss": 1.0, "tags": []}]


def test_several_objectives(store: Store) -> None:
    study = replace(STUDY, metrics=(LOSS, ACCURACY))
    five(store)
    found = find_page(store, study, TaskRows(store, study), Query(count=1))
    assert found.columns[:4] == ("trial", "status", "loss", "accuracy/validation")


def test_errors_are_one_line(store: Store) -> None:
    put(store, record(trial=0, spec=spec(**{"a\n\x1b[31mb": 1})))
    with pytest.raises(BadInput) as caught:
        page(store, where="zzzzz < 1")
    assert "\x1b" not in one_line(str(caught.value))
