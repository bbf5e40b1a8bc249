"""An interrupted task and its retry: one row, and no rank for what did not end."""

from __future__ import annotations

import contextlib
import csv
import io
import json
from collections.abc import Iterator
from typing import Any

import fakeredis
import pytest
from click.testing import CliRunner

from controller.commands import main as cli
from controller.commands import questions
from controller.commands.settings import Settings
from controller.results.standing import merged, retries
from controller.results.tasks import list_tasks, why
from controller.results.top import find_top
from tests.fakes import ACCURACY, LOSS, record
from worker.protocol import (
    Batch,
    ObjectiveMetric,
    Point,
    Reason,
    Status,
    Store,
    StudyRecord,
    Summary,
    TaskRecord,
    TaskSpec,
)

INTERRUPTED = (Status.STOPPED, Reason.STUDY_STOPPED)
PRUNED = (Status.STOPPED, Reason.PRUNED)


@pytest.fixture
def store() -> Store:
    return Store(fakeredis.FakeRedis(decode_responses=True))


def study(store: Store, *metrics: ObjectiveMetric) -> StudyRecord:
    found = StudyRecord(name="s", created_at=1.0, metrics=metrics or (LOSS,))
    store.studies.save(found)
    return found


def task(
    store: Store,
    trial: int,
    x: float,
    *values: float,
    end: tuple[Status, Reason | None] | None = (Status.COMPLETED, None),
    metrics: tuple[ObjectiveMetric, ...] = (LOSS,),
    kind: str = "function",
) -> TaskRecord:
    """A task of trial `trial` that reported `values` and ended so; with `end` None it runs."""
    spec = TaskSpec(
        objective={"kind": kind, "target": "m:f"}, parameters={"x": x}, searched=("x",), metrics=metrics
    )
    made = record(trial=trial, status=Status.QUEUED, spec=spec)
    store.tasks.create(made)
    started = store.transitions.start(made.id, 1, "w/0")
    pairs = list(zip(metrics, values, strict=False))
    if pairs:
        points = [Point(title=m.title, series=m.series, value=v, iteration=0, at=1.0) for m, v in pairs]
        summaries = {m.key: Summary.of(m.title, m.series).add(v, 0) for m, v in pairs}
        store.reports.add(started, Batch(seq=1, points=points, summaries=summaries))
    if end:
        status, reason = end
        store.transitions.finish(
            made.id, 1, status, worker="w/0", reason_class=reason, reason="why" if reason else ""
        )
    return store.tasks.get(made.id)


def ranked(store: Store, shown: StudyRecord, top_k: int) -> list[tuple[int | None, int]]:
    return [(row["rank"], row["trial"]) for row in find_top(store, shown, top_k).details]


@pytest.mark.parametrize(
    ("ends", "pairs"),
    [
        ([INTERRUPTED, (Status.COMPLETED, None)], [(1, [0])]),
        ([INTERRUPTED, INTERRUPTED, (Status.COMPLETED, None)], [(2, [0, 1])]),
        ([INTERRUPTED, None], [(1, [0])]),
        ([INTERRUPTED, (Status.FAILED, Reason.OBJECTIVE_ERROR)], [(1, [0])]),
        ([INTERRUPTED], [(0, [])]),
        ([PRUNED, (Status.COMPLETED, None)], [(0, []), (1, [])]),
        ([(Status.COMPLETED, None), (Status.COMPLETED, None)], [(0, []), (1, [])]),
        ([(Status.STOPPED, Reason.USER), (Status.COMPLETED, None)], [(0, []), (1, [])]),
        ([(Status.FAILED, Reason.OBJECTIVE_ERROR), (Status.COMPLETED, None)], [(0, []), (1, [])]),
        ([(Status.COMPLETED, None), INTERRUPTED], [(0, []), (1, [])]),
    ],
)
def test_an_interrupted_task_and_its_retry_are_one(
    store: Store, ends: list[Any], pairs: list[tuple[int, list[int]]]
) -> None:
    """All have the same parameters; a task of others is between them."""
    tasks = [task(store, number, 0.5, 1.0, end=end) for number, end in enumerate(ends)]
    other = task(store, 99, 0.25, 1.0, end=INTERRUPTED)
    found = merged([*tasks, other])
    assert [(kept.trial, earlier) for kept, earlier in found] == [*pairs, (99, [])]


def test_tasks_without_parameters_are_not_alike(store: Store) -> None:
    """As those of Optuna's objectives, before they have asked for any."""
    bare = TaskSpec(objective={"kind": "optuna", "target": "m:f"}, metrics=(LOSS,))
    made = [
        record(trial=n, spec=bare, status=Status.STOPPED, reason_class=Reason.STUDY_STOPPED) for n in (0, 1)
    ]
    assert retries(made) == {}


def test_what_has_ended_ranks_before_what_has_not(store: Store) -> None:
    shown = study(store)
    task(store, 0, 0.1, 5.0)
    task(store, 1, 0.2, 0.5, end=None)
    task(store, 2, 0.3, 0.25, end=INTERRUPTED)
    task(store, 3, 0.4, 3.0, end=PRUNED)
    task(store, 4, 0.5, 0.125, end=INTERRUPTED)
    task(store, 5, 0.5, 4.0)
    task(store, 6, 0.6, 0.1, end=(Status.FAILED, Reason.OBJECTIVE_ERROR))
    assert ranked(store, shown, 2) == [(1, 3), (2, 5)]
    assert ranked(store, shown, 3) == [(1, 3), (2, 5), (3, 0)]
    # Trial 4 is trial 5, which was run to its end.
    assert ranked(store, shown, 9) == [(1, 3), (2, 5), (3, 0), (None, 2), (None, 1)]
    assert ranked(store, shown, 4) == [(1, 3), (2, 5), (3, 0), (None, 2)]


def test_many_unfinished_ones_are_passed_over(store: Store) -> None:
    shown = study(store)
    for number in range(60):
        task(store, number, number / 100, -1.0 - number, end=None if number % 2 else INTERRUPTED)
    task(store, 60, 0.7, 1.0)
    task(store, 61, 0.8, 2.0)
    assert ranked(store, shown, 2) == [(1, 60), (2, 61)]
    assert len(ranked(store, shown, 100)) == 62


def test_several_objectives_rank_likewise(store: Store) -> None:
    metrics = (LOSS, ACCURACY)
    shown = study(store, *metrics)
    task(store, 0, 0.1, 1.0, 0.5, metrics=metrics)
    task(store, 1, 0.2, 0.1, 0.9, metrics=metrics, end=None)
    task(store, 2, 0.3, 0.1, 0.9, metrics=metrics, end=INTERRUPTED)
    task(store, 3, 0.3, 2.0, 0.6, metrics=metrics)
    found = find_top(store, shown, 9)
    assert [(row["rank"], row["trial"], row["front"]) for row in found.details] == [
        (1, 0, 0),
        (2, 3, 0),
        (None, 1, None),
    ]
    assert found.title.endswith("(Pareto front: 2 tasks)")


def test_rows_of_tasks(store: Store) -> None:
    shown = study(store)
    task(store, 0, 0.1, 5.0, end=INTERRUPTED)
    task(store, 1, 0.2, 3.0)
    task(store, 2, 0.1, 4.0)
    rows = list_tasks(store, shown, None, 10)
    assert [(row["trial"], row["retries"], row["loss"]) for row in rows] == [(1, [], 3.0), (2, [0], 4.0)]
    assert [row["hyper_parameters"] for row in rows] == [{"x": 0.2}, {"x": 0.1}]
    assert [row["trial"] for row in list_tasks(store, shown, Status.STOPPED, 10)] == [0]
    assert [row["trial"] for row in list_tasks(store, shown, None, 1)] == [2]


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({}, ""),
        (
            {"reason_class": Reason.PRUNED, "reason": "given up at iteration 3"},
            "pruned: given up at iteration 3",
        ),
        ({"reason_class": Reason.PRUNED}, "pruned"),
    ],
)
def test_why_a_task_ended(changes: dict[str, Any], text: str) -> None:
    assert why(record(**changes)) == text


@pytest.fixture
def asked(store: Store, monkeypatch: pytest.MonkeyPatch) -> Any:
    @contextlib.contextmanager
    def opened(settings: Settings) -> Iterator[Store]:
        yield store

    monkeypatch.setattr(questions, "open_store", opened)

    def ask(*words: str) -> str:
        done = CliRunner().invoke(cli.command, words, catch_exceptions=False)
        assert done.exit_code == 0, done.output
        return done.output

    return ask


VALUES = [0.1, 3, True, "adam", None, [1, 2], {"a": 1}, 1e-300, 2**60]


@pytest.mark.parametrize("name", ["x", "General/x", "Args/x", "größe", "loss", "rank"])
@pytest.mark.parametrize("value", VALUES, ids=str)
def test_one_name_and_one_type_in_every_output(store: Store, asked: Any, name: str, value: Any) -> None:
    shown = study(store)
    spec = TaskSpec(
        objective={"kind": "function", "target": "m:f"},
        parameters={name: value, "fixed": 1},
        searched=(name,),
        metrics=(LOSS,),
    )
    made = record(trial=3, status=Status.QUEUED, spec=spec)
    store.tasks.create(made)
    started = store.transitions.start(made.id, 1, "w/0")
    batch = Batch(
        seq=1,
        points=[Point(title="loss", series="", value=1.0, iteration=0, at=1.0)],
        summaries={"loss": Summary.of("loss", "").add(1.0, 0)},
    )
    store.reports.add(started, batch)
    store.transitions.finish(made.id, 1, Status.COMPLETED, worker="w/0")

    def typed(found: dict[str, Any]) -> tuple[Any, type]:
        return found[name], type(found[name])

    expected = (value, type(value))
    assert typed(json.loads(asked("top", "s", "--format", "json"))[0]["hyper_parameters"]) == expected
    assert typed(json.loads(asked("tasks", "s", "--format", "json"))[0]["hyper_parameters"]) == expected
    about = json.loads(asked("show", made.id, "--format", "json"))
    assert typed(about["hyper_parameters"]) == expected
    assert about["hyper_parameters"]["fixed"] == 1
    assert typed(find_top(store, shown, 1).plain()[0]["hyper_parameters"]) == expected
    (row,) = csv.DictReader(io.StringIO(asked("top", "s", "--format", "csv")))
    assert (row["rank"], row["trial"], row["task_id"], row["loss"]) == ("1", "3", made.id, "1.0")
    column = f"parameter/{name}" if name in ("loss", "rank") else name
    assert row[column] == ("" if value is None else str(value))
    assert f"{name}=" in asked("top", "s")


def test_metrics_of_the_machine_do_not_crowd_what_people_read(store: Store, asked: Any) -> None:
    study(store)
    made = task(store, 0, 0.5, 1.0, end=None)
    key = ":monitor:machine/cpu_usage"
    batch = Batch(
        seq=2,
        points=[Point(title=":monitor:machine", series="cpu_usage", value=7.0, iteration=0, at=1.0)],
        summaries={key: Summary.of(":monitor:machine", "cpu_usage").add(7.0, 0)},
    )
    store.reports.add(made, batch)
    assert key not in asked("show", made.id)
    assert "1 metric(s) of the machine (:monitor:) with --all-metrics" in asked("show", made.id)
    assert key in asked("show", made.id, "--all-metrics")
    assert key in json.loads(asked("show", made.id, "--format", "json"))["metrics"]
    assert key not in asked("top", "s", "--all-metrics")
    assert key in json.loads(asked("top", "s", "--all-metrics", "--format", "json"))[0]["metrics"]
