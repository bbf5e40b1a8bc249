from __future__ import annotations

import contextlib
import csv
import io
import json
import math
from collections.abc import Iterator, Sequence

import fakeredis
import pytest
from click.testing import CliRunner

from controller.commands import main as cli
from controller.commands import questions
from controller.commands.settings import Settings
from controller.results.ranking import Ranking
from controller.results.top import Top, find_top
from controller.search.objective import Objective
from tests.fakes import ACCURACY, LOSS, record
from worker.protocol import (
    Batch,
    ObjectiveMetric,
    Point,
    Sign,
    Status,
    Store,
    StudyRecord,
    Summary,
    TaskRecord,
)
from worker.protocol.errors import BadInput

SIZE = ObjectiveMetric(title="front", series="", sign=Sign.MIN)
"""A metric that is called like a column of ours."""
SEVERAL = (ACCURACY, SIZE)


@pytest.fixture
def store() -> Store:
    return Store(fakeredis.FakeRedis(decode_responses=True))


def study(store: Store, metrics: Sequence[ObjectiveMetric] = SEVERAL) -> StudyRecord:
    found = StudyRecord(name="s", created_at=1.0, metrics=tuple(metrics))
    store.studies.save(found)
    return found


def task(
    store: Store,
    name: str,
    *values: float,
    metrics: Sequence[ObjectiveMetric] = SEVERAL,
    status: Status | None = Status.COMPLETED,
    ranks: bool = True,
) -> TaskRecord:
    """A task that reported these values of `metrics`, and ended; with `status` None it runs on."""
    made = record(name=name, status=Status.QUEUED, metrics=tuple(metrics))
    store.tasks.create(made)
    started = store.transitions.start(made.id, 1, "w/0")
    points = [
        Point(title=metric.title, series=metric.series, value=value, iteration=0, at=1.0)
        for metric, value in zip(metrics, values, strict=False)
    ]
    summaries = {
        metric.key: Summary.of(metric.title, metric.series).add(value, 0)
        for metric, value in zip(metrics, values, strict=False)
    }
    store.reports.add(started, Batch(seq=1, points=points, summaries=summaries))
    if status:
        store.transitions.finish(made.id, 1, status, worker="w/0", ranks=ranks)
    return started


def populate(store: Store) -> None:
    task(store, "accurate", 0.9, 30.0)
    task(store, "small", 0.5, 1.0)
    task(store, "between", 0.8, 10.0)
    task(store, "beaten", 0.8, 20.0)
    task(store, "worst", 0.4, 40.0)
    task(store, "unfinished", 0.95, 90.0, status=None)
    task(store, "failed", 0.99, 0.5, status=Status.FAILED)
    task(store, "infeasible", 0.99, 0.5, ranks=False)
    task(store, "half", 0.99)
    task(store, "nan", 0.99, math.nan)
    task(store, "infinite", math.inf, 0.5)
    task(store, "minus infinite", 0.99, -math.inf)


def names(records: Sequence[TaskRecord]) -> list[str]:
    return [found.name for found in records]


def test_several_objectives_are_ordered_by_fronts(store: Store) -> None:
    populate(store)
    ranking = Ranking(store, "s", SEVERAL)
    assert names(ranking.records(9)) == ["unfinished", "small", "accurate", "between", "beaten", "worst"]
    assert names(ranking.records(2)) == ["unfinished", "small"]
    assert ranking.records(0) == []
    completed = ranking.records(9, only_completed=True)
    assert names(completed) == ["accurate", "small", "between", "beaten", "worst"]


def test_details_name_the_front_and_all_objectives(store: Store) -> None:
    populate(store)
    rows = Ranking(store, "s", SEVERAL).details(9, only_completed=True)
    assert [row["front"] for row in rows] == [0, 0, 0, 1, 2]
    assert {name: metric["value"] for name, metric in rows[0]["metrics"].items()} == {
        "accuracy/validation": 0.9,
        "front": 30.0,
    }


def test_the_whole_front(store: Store) -> None:
    ranking = Ranking(store, "s", SEVERAL)
    assert (ranking.best(None).records, ranking.best(None).front_size) == ([], 0)
    populate(store)
    best = ranking.best(None, only_completed=True)
    assert names(best.records) == ["accurate", "small", "between"]
    assert (set(best.fronts.values()), best.front_size) == ({0}, 3)
    assert ranking.best(1).front_size == 4


def test_with_one_objective_there_are_no_fronts(store: Store) -> None:
    for name, value in (("b", 2.0), ("a", 1.0), ("nan", math.nan), ("c", 3.0)):
        task(store, name, value, metrics=(LOSS,))
    ranking = Ranking(store, "s", (LOSS,))
    assert names(ranking.records(2)) == ["a", "b"]
    assert "front" not in ranking.details(1)[0]
    with pytest.raises(BadInput, match="'s' has one objective; a Pareto front needs several"):
        ranking.best(None)


def columns(found: Top) -> list[str]:
    return list(found.shown()[0])


def test_the_title_says_how_large_the_front_is(store: Store) -> None:
    shown = study(store)
    populate(store)
    found = find_top(store, shown, 2)
    assert found.title == "Top 2 of study s (Pareto front: 3 tasks)"
    assert columns(found)[:2] == ["rank", "front"]
    assert "metric/front" in columns(found)
    assert len(found.details) == 2
    found = find_top(store, shown, None, only_completed=True)
    assert found.title == "Top 3 of study s (Pareto front: 3 tasks)"
    assert [row["front"] for row in found.shown()] == [0, 0, 0]


def test_the_table_of_one_objective(store: Store) -> None:
    task(store, "a", 1.0, metrics=(LOSS,))
    found = find_top(store, study(store, (LOSS,)), 5)
    assert found.title == "Top 1 of study s"
    assert columns(found) == ["rank", "task", "trial", "status", "loss", "parameters"]


@pytest.fixture
def top(store: Store, monkeypatch: pytest.MonkeyPatch) -> CliRunner:
    @contextlib.contextmanager
    def opened(settings: Settings) -> Iterator[Store]:
        yield store

    monkeypatch.setattr(questions, "open_store", opened)
    return CliRunner()


def answer(runner: CliRunner, *args: str) -> str:
    done = runner.invoke(cli.command, ["top", "s", *args], catch_exceptions=False)
    assert done.exit_code == 0
    return done.output


def test_top_of_several_objectives(store: Store, top: CliRunner) -> None:
    study(store)
    assert "no task has reported accuracy/validation and front yet" in answer(top)
    populate(store)
    assert "Top 5 of study s (Pareto front: 3 tasks)" in answer(top)
    found = json.loads(answer(top, "-k", "9", "--format", "json"))
    # The one that still runs comes last, whatever it has reported so far, and has no rank.
    assert [row["front"] for row in found] == [0, 0, 0, 1, 2, None]
    rows = list(csv.DictReader(io.StringIO(answer(top, "-k", "9", "--format", "csv"))))
    assert [(row["rank"], row["front"], row["metric/front"]) for row in rows][2:] == [
        ("3", "0", "10.0"),
        ("4", "1", "20.0"),
        ("5", "2", "40.0"),
        ("", "", "90.0"),
    ]


@pytest.mark.parametrize("k", ["1", "9"])
def test_the_front_whatever_k(store: Store, top: CliRunner, k: str) -> None:
    study(store)
    populate(store)
    found = json.loads(answer(top, "--front", "-k", k, "--format", "json"))
    assert [row["front"] for row in found] == [0, 0, 0]
    assert "Top 3 of study s (Pareto front: 3 tasks)" in answer(top, "--front", "-k", k)


def test_the_front_of_one_objective_is_bad_input(store: Store, top: CliRunner) -> None:
    study(store, (LOSS,))
    with pytest.raises(BadInput) as caught:
        top.invoke(cli.command, ["top", "s", "--front"], catch_exceptions=False)
    assert (len(str(caught.value).splitlines()), caught.value.exit_code) == (1, 2)


def test_more_objectives_than_there_are_keys_for_are_refused() -> None:
    many = [f"m{i}" for i in range(17)]
    assert len(Objective(many[:16], many[:16]).metrics) == 16
    with pytest.raises(BadInput, match="17 metrics; a study has at most 16"):
        Objective(many, many)
