"""A second run: what it is made of, and how it compares with the first."""

from __future__ import annotations

import json
from dataclasses import replace

import fakeredis
import pytest

from controller.insight.reproduction import TAG, compare, repeat_of, repeats_of
from controller.insight.surroundings import described, deviations, facts
from tests.fakes import LOSS, ManualClock, record
from worker.protocol import Batch, Point, Reason, Status, Store, Summary, TaskRecord, TaskSpec
from worker.protocol.errors import BadInput
from worker.protocol.recorded_surroundings import RecordedSurroundings
from worker.protocol.surroundings import GitState, Surroundings

HERE = Surroundings(at=5.0, host="n1", python="CPython 3.11.7", packages={"numpy": "1.26.4"},
                    git=GitState(commit="c1"))  # fmt: skip


@pytest.fixture
def store() -> Store:
    return Store(fakeredis.FakeStrictRedis(decode_responses=True), ManualClock())


def ran(store: Store, task: TaskRecord, values: list[float], **ending: object) -> TaskRecord:
    """The task after a run that has reported its loss at iterations 1, 2, …"""
    store.tasks.create(task)
    store.transitions.queue(task.id)
    started = store.transitions.start(task.id, 1, "w/0")
    points = [
        Point(title="loss", series="", value=value, iteration=iteration, at=5.0)
        for iteration, value in enumerate(values, 1)
    ]
    if points:
        summary = Summary.of("loss", "")
        for point in points:
            summary = summary.add(point.value, point.iteration)
        store.reports.add(started, Batch(seq=1, points=points, summaries={summary.key: summary}))
    status = ending.pop("status", Status.COMPLETED)
    assert isinstance(status, Status)
    return store.transitions.finish(task.id, 1, status, worker="w/0", **ending)  # type: ignore[arg-type] # by name


def finished(**changes: object) -> TaskRecord:
    return record(status=Status.COMPLETED, worker="w/0", started_at=6.0, **changes)


def test_a_repeat_runs_the_same_outside_the_study() -> None:
    code = {"sha256": "f" * 64, "size": 1, "key": "k", "unpacked": 1}
    spec = TaskSpec(
        objective={"kind": "function", "target": "m:f"}, parameters={"x": 1.5}, metrics=(LOSS,), code=code,
        queue="gpu", max_iterations=7, tags=("mine",), retry_on=("out_of_memory",),
    )  # fmt: skip
    source = finished(spec=spec)
    repeat = repeat_of(source, "other", 9.0)
    assert (repeat.study, repeat.trial, repeat.parent, repeat.status) == ("", -1, source.id, Status.CREATED)
    assert repeat.id != source.id
    assert (repeat.spec.queue, repeat.spec.tags, repeat.spec.retry_on) == ("other", ("mine", TAG), ())
    kept = ("objective", "parameters", "metrics", "code", "max_iterations", "searched", "connected")
    assert all(getattr(repeat.spec, name) == getattr(spec, name) for name in kept)
    assert repeat.seed == source.seed
    assert not repeat.is_searched


@pytest.mark.parametrize(
    ("task", "said"),
    [
        (record(), "it is created"),
        (record(status=Status.IN_PROGRESS), "it is in_progress"),
        (record(status=Status.COMPLETED, spec=TaskSpec()), "nothing is known that could be run"),
    ],
)
def test_what_can_not_be_repeated_is_refused(task: TaskRecord, said: str) -> None:
    with pytest.raises(BadInput, match=said):
        repeat_of(task, "q", 1.0)


def test_identical_runs(store: Store) -> None:
    first = ran(store, record(), [3.0, 2.0, 1.0])
    store.surroundings.note_worker(first, "w", HERE)
    second = ran(store, repeat_of(first, "q", 1.0), [3.0, 2.0, 1.0])
    store.surroundings.note_worker(second, "w", replace(HERE, at=7.0))
    found = compare(store, first, second)
    assert found.is_identical
    assert found.verdict == "identical: loss to the last digit"
    assert (found.surroundings, found.unknown) == ((), "")
    (pair,) = found.metrics
    assert (pair.before, pair.after, pair.common, pair.largest, pair.relative) == (1.0, 1.0, 3, 0.0, 0.0)
    json.dumps(found.as_dict(), allow_nan=False)
    assert [one.id for one in repeats_of(store, first)] == [second.id]
    assert repeats_of(store, second) == []


def test_runs_that_part(store: Store) -> None:
    first = ran(store, record(), [3.0, 2.0, 1.0])
    store.surroundings.note_worker(first, "w", HERE)
    second = ran(store, repeat_of(first, "q", 1.0), [3.0, 2.5, 1.1])
    elsewhere = replace(HERE, host="n2", packages={"numpy": "2.0.0"}, git=GitState(commit="c2"))
    store.surroundings.note_worker(second, "w", elsewhere)
    found = compare(store, first, second)
    assert not found.is_identical
    assert found.verdict == "loss: 1.1, 1 before (+10 %); they part at iteration 2 of 3, by at most 0.5"
    (pair,) = found.metrics
    assert (pair.first_difference, pair.largest) == (2, 0.5)
    assert found.surroundings is not None
    assert [one.what for one in found.surroundings] == ["host", "git commit", "package numpy"]


def test_runs_that_part_and_end_alike(store: Store) -> None:
    first = ran(store, record(), [3.0, 2.0, 1.0])
    found = compare(store, first, ran(store, repeat_of(first, "q", 1.0), [3.0, 2.5, 1.0]))
    assert not found.is_identical
    assert found.verdict == "loss: 1 in both at the end; they part at iteration 2 of 3, by at most 0.5"


def test_a_pruned_run_is_compared_as_far_as_it_came(store: Store) -> None:
    first = ran(store, record(), [3.0, 2.0], status=Status.STOPPED, reason_class=Reason.PRUNED, reason="bad")
    second = ran(store, repeat_of(first, "q", 1.0), [3.0, 2.0, 1.0])
    found = compare(store, first, second)
    assert found.is_identical
    assert found.metrics[0].iteration == 2
    assert (found.surroundings, found.unknown) == (None, "the first run and the second run")


def test_a_run_that_fails_and_one_that_says_nothing(store: Store) -> None:
    first = ran(store, record(), [3.0])
    failed = ran(store, repeat_of(first, "q", 1.0), [], status=Status.FAILED,
                 reason_class=Reason.OBJECTIVE_ERROR, reason="no such module")  # fmt: skip
    found = compare(store, first, failed)
    assert not found.is_identical
    assert found.verdict == "it has failed (no such module); the first had completed"
    assert found.metrics[0].after is None
    silent = ran(store, record(), [])
    again = ran(store, repeat_of(silent, "q", 1.0), [])
    assert "neither has reported" in compare(store, silent, again).verdict
    assert not compare(store, silent, again).is_identical


def test_values_that_are_no_numbers(store: Store) -> None:
    first = ran(store, record(), [float("nan"), float("inf")])
    second = ran(store, repeat_of(first, "q", 1.0), [float("nan"), float("inf")])
    found = compare(store, first, second)
    assert found.is_identical
    json.dumps(found.as_dict(), allow_nan=False)


def test_a_studys_surroundings_as_rows() -> None:
    dirty = replace(HERE, git=GitState(commit="c1", branch="main", dirty=True, untracked=("new.py",)))
    found = RecordedSurroundings(
        first=dirty,
        diff={"text": "+a\n+***", "hidden": 1, "left_out": 3},
        later=(replace(dirty, at=8.0, python="CPython 3.12.1"),),
        workers={"w": (replace(dirty, host="n2"),), "v": (replace(dirty, packages={}),)},
    )
    rows = dict(facts(found))
    assert rows["git changes"] == "2 lines of diff, 1 with something hidden, 3 characters left out"
    assert (rows["not in git"], rows["workers"]) == ("new.py", "2")
    shown = [(who, [str(one) for one in differing]) for who, differing in deviations(found)]
    assert shown == [
        ("controller of 1970-01-01T00:00:08.000+00:00", ["python: CPython 3.11.7 → CPython 3.12.1"]),
        ("worker w on n2", []),
        ("worker v on n1", ["package numpy: 1.26.4 → none"]),
    ]
    json.dumps(described(found))
    assert facts(RecordedSurroundings()) == []
    assert described(RecordedSurroundings())["first"] is None
