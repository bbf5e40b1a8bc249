"""A study as figures read it: from the store, and from its file; its learning curves, thinned out."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import fakeredis
import pytest

from controller.results import curves, study_data, study_reader
from controller.results.curves import Curve, curves_of, peaks, picked, read_curves
from controller.results.history import by_time, by_trial, steps
from controller.results.study_data import read_study
from controller.results.study_reader import StudyReader
from controller.results.timeline import timeline
from tests.study_data import LOSS, SIZE, START, made_up
from tests.study_data import study_data as made
from worker.protocol import Batch, Point, Reason, Status, Store, StudyRecord, keys
from worker.protocol.copies import TaskCopy, write_tasks
from worker.protocol.errors import BadInput


@pytest.fixture
def store() -> Store:
    return Store(fakeredis.FakeRedis(decode_responses=True))


def put(store: Store, made: tuple[StudyRecord, list[TaskCopy]]) -> None:
    study, copies = made
    store.studies.save(study)
    write_tasks(store, copies)


def test_a_study_is_read_with_its_objectives_only(store: Store) -> None:
    study, copies = made_up(30, metrics=(LOSS, SIZE))
    other = copies[0].scalars["loss"]
    noisy = {
        **copies[0].scalars,
        ":monitor:machine/cpu": replace(other, title=":monitor:machine", series="cpu"),
    }
    put(store, (study, [replace(copies[0], scalars=noisy), *copies[1:]]))
    data = read_study(store, "s")
    assert [task.record.trial for task in data.tasks] == list(range(30))
    assert [task.record for task in data.tasks] == [copy.record for copy in copies]
    assert set(data.tasks[0].scalars) == {"loss", "size"}
    assert (data.left_out, data.curves) == (0, {})
    with pytest.raises(BadInput, match="no study 'other'"):
        read_study(store, "other")


def test_a_task_beyond_its_bound_has_no_result(store: Store) -> None:
    study, copies = made_up(4)
    spec = replace(copies[0].record.spec, constraints=({"metric": "size", "max": 1.0},))
    put(store, (study, [replace(copies[0], record=replace(copies[0].record, spec=spec)), *copies[1:]]))
    assert [task.record.trial for task in read_study(store, "s").ranked()] == [1, 2]


def test_of_a_very_large_study_the_best_and_every_so_many_are_read(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(study_data, "MOST", 40)
    monkeypatch.setattr(study_data, "BEST", 10)
    put(store, made_up(200, 2))
    data = read_study(store, "s")
    assert 30 <= len(data.tasks) <= 40
    assert data.left_out == 200 - len(data.tasks)
    read = {task.record.id for task in data.tasks}
    assert read.issuperset(store.ranking.best("s", 10))
    assert f"{199:032x}" in read, "the one that runs"


def test_a_spoiled_task_is_left_out(store: Store) -> None:
    put(store, made_up(3))
    store.redis.hset(keys.task(f"{1:032x}"), "status", "nonsense")
    store.redis.delete(keys.scalars(f"{0:032x}"))
    store.redis.set(keys.scalars(f"{0:032x}"), "no hash")
    data = read_study(store, "s")
    assert [(task.record.trial, task.value(LOSS) is None) for task in data.tasks] == [(0, True), (2, False)]


# Read again


def test_tasks_that_have_ended_are_read_once(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    put(store, made_up(20))
    reader = StudyReader()
    first = reader.read(store, "s")
    asked: list[str] = []
    get_many = store.tasks.get_many

    def noted(ids: Sequence[str]) -> object:
        asked.extend(ids)
        return get_many(ids)

    monkeypatch.setattr(store.tasks, "get_many", noted)
    running = f"{19:032x}"
    again = reader.read(store, "s")
    assert asked == [running]
    assert again.tasks == first.tasks
    store.transitions.finish(running, 1, Status.COMPLETED, worker=first.tasks[-1].record.worker)
    assert reader.read(store, "s").tasks[-1].record.status is Status.COMPLETED


def test_a_task_that_is_another_one_now_is_read_again(store: Store) -> None:
    """`controller rewind` removes tasks, and those that follow have the ids of the ones that went."""
    study, copies = made_up(10)
    put(store, (study, copies))
    reader = StudyReader()
    assert len(reader.read(store, "s").tasks) == 10
    for copy in copies[5:]:
        store.tasks.remove(copy.record)
    assert len(reader.read(store, "s").tasks) == 5
    later = replace(copies[7], record=replace(copies[7].record, ended_at=START + 999.0, reason="another"))
    write_tasks(store, [later])
    assert reader.read(store, "s").tasks[-1].record.reason == "another"
    write_tasks(
        store, [replace(later, record=replace(later.record, ended_at=START + 1999.0, reason="a third"))]
    )
    assert reader.read(store, "s").tasks[-1].record.reason == "a third"


def test_a_study_of_the_same_name_is_another_one(store: Store) -> None:
    study, copies = made_up(5)
    put(store, (study, copies))
    reader = StudyReader()
    reader.read(store, "s")
    store.studies.delete("s")
    with pytest.raises(BadInput):
        reader.read(store, "s")
    put(store, (replace(study, created_at=START + 5), copies[:2]))
    assert len(reader.read(store, "s").tasks) == 2


def test_the_curves_of_ended_tasks_are_read_once(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    put(store, made_up(6))
    reader = StudyReader()
    data = reader.with_curves(store, reader.read(store, "s"), [f"{n:032x}" for n in (0, 5)])
    assert set(data.curves) == {f"{n:032x}" for n in (0, 5)}
    asked: list[str] = []
    monkeypatch.setattr(
        study_reader, "read_curves", lambda store, ids: asked.extend(ids) or read_curves(store, ids)
    )
    again = reader.with_curves(store, data, [f"{n:032x}" for n in (0, 5)])
    assert asked == [f"{5:032x}"], "the one that runs"
    assert again.curves == data.curves


# Curves


def test_peaks_keep_ends_and_extremes() -> None:
    values = [math.sin(i / 50) for i in range(10_000)]
    values[1234], values[8765] = 50.0, -50.0
    kept = peaks(values, 100)
    assert len(kept) <= 100
    assert {0, 1234, 8765, 9999} <= set(kept)
    assert list(kept) == sorted(kept)


@pytest.mark.parametrize("most", [0, 1, 2, 3, 7, 500])
@pytest.mark.parametrize("count", [0, 1, 2, 3, 8, 501])
def test_peaks_of_any_number(most: int, count: int) -> None:
    kept = peaks([float(i % 5) for i in range(count)], most)
    assert len(kept) <= max(2, most)
    assert set(kept) <= set(range(count))
    if count:
        assert (kept[0], kept[-1]) == (0, count - 1)


def test_peaks_where_nothing_is_a_number() -> None:
    assert peaks([math.nan] * 100, 10)[-1] == 99


def batch(seq: int, *points: tuple[str, int, float]) -> str:
    made = [Point(title=t, series="", value=v, iteration=i, at=START + i) for t, i, v in points]
    return Batch(seq=seq, points=made, summaries={}).encode()


def test_curves_are_by_iteration_with_the_latest_value_of_each() -> None:
    found = curves_of(
        "t",
        [
            batch(1, ("loss", 2, 3.0), ("loss", 0, 5.0), (":monitor:machine", 0, 9.0)),
            batch(2, ("loss", 2, 2.5), ("acc", 1, 0.5)),
            batch(2, ("loss", 2, 99.0)),  # written twice
            "no batch",
            batch(3, ("loss", 3, math.nan)),
        ],
    )
    assert set(found) == {"loss", "acc"}
    assert list(found["loss"].iterations) == [0, 2, 3]
    assert list(found["loss"].values[:2]) == [5.0, 2.5]
    assert math.isnan(found["loss"].values[2])
    assert found["loss"].times[1] == START + 2


def test_curves_of_many_tasks_are_read_in_few_round_trips(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(store, made_up(90, 3))
    trips = []
    pipeline = store.redis.pipeline
    monkeypatch.setattr(store.redis, "pipeline", lambda **options: trips.append(1) or pipeline(**options))
    found = read_curves(store, [f"{n:032x}" for n in range(90)] + ["f" * 32])
    assert len(found) == 90
    assert len(trips) <= 5
    assert list(found[f"{0:032x}"]["loss"].iterations) == [0, 1, 2]


def test_a_task_with_very_many_batches_is_read_in_windows(store: Store) -> None:
    batches = [batch(i + 1, ("loss", i, float(i))) for i in range(12_000)]
    store.redis.rpush(keys.series("t"), *batches)
    found = read_curves(store, ["t"])["t"]["loss"]
    assert len(found.values) <= curves.PER_CURVE
    assert (found.iterations[0], found.iterations[-1]) == (0, 11_999)
    widest = max(b - a for a, b in zip(found.iterations, found.iterations[1:], strict=False))
    assert widest < 200


def test_a_series_that_is_no_list_has_no_curve(store: Store) -> None:
    store.redis.set(keys.series("t"), "x")
    assert read_curves(store, ["t"]) == {}


def test_all_curves_together_keep_to_the_limit() -> None:
    curve = Curve(iterations=range(500), values=[float(i) for i in range(500)], times=[START] * 500)
    found = picked({str(n): {"loss": curve, "acc": curve} for n in range(1_000)}, "loss", 20_000)
    assert len(found) == 1_000
    assert sum(len(one.values) for one in found.values()) <= 20_000
    assert picked({"a": {"acc": curve}}, "loss", 100) == {}


# History and timeline


def test_history_by_trial_and_by_time() -> None:
    data = made(12)
    first, second = data.tasks[0], data.tasks[1]
    late = replace(first, record=replace(first.record, ended_at=START + 9_999))
    data = replace(data, tasks=(late, second, *data.tasks[2:]))
    assert [result.trial for result in by_trial(data)] == [n for n in range(11) if n != 10]
    assert by_time(data)[-1].trial == 0
    for results in (by_trial(data), by_time(data)):
        best = [result.best for result in results]
        assert best == [min(result.value for result in results[: n + 1]) for n in range(len(results))]
        turns = steps(results)
        assert turns[-1] is results[-1]
        assert all(result.improves for result in turns[:-1])


@pytest.mark.parametrize(
    ("status", "reason", "counts"),
    [
        (Status.COMPLETED, None, True),
        (Status.STOPPED, Reason.PRUNED, True),
        (Status.STOPPED, Reason.TIME_LIMIT, True),
        (Status.STOPPED, Reason.STUDY_STOPPED, False),
        (Status.FAILED, Reason.OBJECTIVE_ERROR, False),
        (Status.IN_PROGRESS, None, False),
    ],
)
def test_only_results_that_stand_are_history(status: Status, reason: Reason | None, counts: bool) -> None:
    data = made(2)
    task = replace(data.tasks[0], record=replace(data.tasks[0].record, status=status, reason_class=reason))
    assert bool(by_trial(replace(data, tasks=(task,)))) is counts


def test_the_timeline_is_by_slot_and_start() -> None:
    found = timeline(made(12))
    assert len(found) == 12
    assert [(a.worker, a.started_at) for a in found] == sorted((a.worker, a.started_at) for a in found)
    (running,) = [a for a in found if a.outcome == "running"]
    assert (running.trial, running.ended_at) == (11, START + 36_000)


# Files


def test_a_file_gives_what_the_store_gives(store: Store, tmp_path: Path) -> None:
    import optuna

    from controller.studies.study_file import export_study
    from controller.studies.study_file_data import read_study_file

    url = f"sqlite:///{tmp_path}/optuna.db"
    study = optuna.create_study(study_name="s", storage=url)
    study.add_trials([optuna.trial.create_trial(value=1.0) for _ in range(12)])
    record, copies = made_up(12)
    put(store, (replace(record, storage=url), copies))
    export_study(store, "s", url, tmp_path / "s.study", overwrite=False)
    found, stored = read_study_file(tmp_path / "s.study"), read_study(store, "s")
    assert found.study == stored.study
    assert [task.record for task in found.tasks] == [task.record for task in stored.tasks]
    assert [task.value(LOSS) for task in found.tasks] == [task.value(LOSS) for task in stored.tasks]
    assert found.curves == read_curves(store, store.studies.tasks("s"))
    assert abs(found.at - stored.at) < 3600


def test_a_file_that_is_none_is_refused(tmp_path: Path) -> None:
    from controller.studies.study_file_data import read_study_file

    (tmp_path / "x").write_text(json.dumps({"a": 1}))
    with pytest.raises(BadInput, match="not a file that `controller export` has written"):
        read_study_file(tmp_path / "x")
