"""Watching a study in Redis: a frame at each look, and each change once, whatever happens in between."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import fakeredis
import pytest
import redis

from controller.results.live import BestKept, Frame
from controller.results.watching import Look, Watching
from tests.fakes import ACCURACY, LOSS, ManualClock, record
from tests.heads import Head
from worker.protocol import Reason, Status, Store, StudyState, Summary, keys
from worker.protocol.errors import BadInput


@pytest.fixture
def head() -> Head:
    return Head(Store(fakeredis.FakeRedis(decode_responses=True), ManualClock()))


def changes(look: Look) -> tuple[list[int], list[int], list[int]]:
    """Trials that were launched, started and ended."""
    return (
        [one.trial for one in look.launched],
        [one.trial for one in look.started],
        [one.trial for one in look.ended],
    )


def best(frame: Frame) -> list[int]:
    return [one.trial for one in frame.best]


def test_each_change_is_told_once(head: Head) -> None:
    head.done(0, 3.0)
    running = head.run(1, 5.0, 4.0)
    watching = Watching(head.store, "s")
    first = watching.look()
    assert changes(first) == ([], [1], [])
    assert (first.frame.ended, first.frame.counts[Status.IN_PROGRESS], best(first.frame)) == (1, 1, [0])
    (row,) = first.frame.running
    assert (row.trial, row.value, row.iteration, row.worker) == (1, 4.0, 1, "w/0")
    assert changes(watching.look()) == ([], [], [])

    head.finish(running)
    head.done(2, 1.0)  # begins and ends between two looks
    head.queue(3)
    look = watching.look()
    assert changes(look) == ([2, 3], [2], [1, 2])
    assert look.ended[1].values == {"loss": 1.0}
    assert look.ended[1].parameters == {"x": 1.5, "General/k": 2}
    assert best(look.frame) == [2]
    assert changes(watching.look()) == ([], [], [])


def test_a_frame_says_how_the_study_stands(head: Head) -> None:
    budget = {
        "jobs": {"used": 3, "limit": 10.0, "unit": "jobs"},
        "wall_clock": {"used": 2.0, "limit": None, "unit": "minutes"},
    }
    head.save(budget=budget)
    head.done(0, 3.0)
    head.done(1, 2.0)
    head.run(2, 5.0)
    head.store.workers.register("w", {"queues": "default", "slots": 4, "paused_until": 2e6}, 60.0)
    head.store.workers.register("other", {"queues": "gpu", "slots": 9}, 60.0)
    head.store.clock.sleep(33.0)
    frame = Watching(head.store, "s").look().frame
    assert (frame.state, frame.elapsed_s, frame.remaining_s) == ("running", 120.0, 480.0)
    assert (frame.workers, frame.slots, frame.paused) == (1, 4, 1)
    assert [row.seconds for row in frame.running] == [33.0]
    assert frame.progress() == "2 ended · 1 running on 4 slot(s) · best 2 (trial 1)"
    assert frame.to_dict()["counts"]["completed"] == 2


def test_it_works_while_no_controller_acts(head: Head) -> None:
    head.store.redis.delete(keys.study_lock("s"))
    frame = Watching(head.store, "s").look().frame
    assert (frame.state, frame.reason) == ("interrupted", "its controller is gone")
    head.save(state=StudyState.COMPLETED, reason="all 3 trials created", ended_at=9.0)
    frame = Watching(head.store, "s").look().frame
    assert (frame.state, frame.reason, frame.remaining_s) == ("completed", "all 3 trials created", 0.0)


def test_only_results_are_the_best(head: Head) -> None:
    watching = Watching(head.store, "s")
    assert best(watching.look().frame) == []
    head.done(0, 3.0)
    head.finish(head.run(1, 1.0), Status.FAILED, Reason.OBJECTIVE_ERROR)
    head.finish(head.run(2, 1.0), Status.STOPPED, Reason.STUDY_STOPPED)
    head.finish(head.run(3, float("nan")))
    head.finish(head.run(4))
    head.run(5, 0.5)
    look = watching.look()
    assert best(look.frame) == [0]
    assert [(one.status.value, one.reason_class) for one in look.ended] == [
        ("completed", ""), ("failed", "objective_error"), ("stopped", "study_stopped"), ("completed", ""),
        ("completed", ""),
    ]  # fmt: skip
    head.finish(head.run(6, 2.0), Status.STOPPED, Reason.PRUNED)
    assert best(watching.look().frame) == [6]
    # Who begins to watch now sees the same.
    assert best(Watching(head.store, "s").look().frame) == [6]


def test_several_objectives_have_their_front(head: Head) -> None:
    both = (LOSS, ACCURACY)
    head.save(metrics=both)
    watching = Watching(head.store, "s")

    def done(trial: int, loss: float, accuracy: float) -> None:
        task = head.run(trial, loss, metrics=both)
        head.report(task, accuracy, key="accuracy/validation", seq=2)
        head.finish(task)

    done(0, 3.0, 0.5)
    done(1, 2.0, 0.4)
    assert best(watching.look().frame) == [1, 0]
    done(2, 3.5, 0.4)  # beaten by the first
    done(3, 2.0, 0.5)  # beats both
    assert best(watching.look().frame) == [3]
    done(4, 9.0, 0.9)
    assert best(watching.look().frame) == best(Watching(head.store, "s").look().frame) == [4, 3]


def test_what_violates_a_constraint_is_not_the_best(head: Head) -> None:
    kept = BestKept((LOSS,))
    bound = {"metric": "size", "max": 5.0}
    for size, expected in ((6.0, []), (4.0, [1])):
        made = record(trial=len(expected), status=Status.COMPLETED)
        made = replace(made, spec=replace(made.spec, constraints=(bound,)))
        kept.add(made, {"loss": 1.0}, {"size": Summary.of("size", "").add(size, 0)}, {})
        assert [one.trial for one in kept.trials] == expected


def test_an_attempt_that_follows_is_another_start(head: Head) -> None:
    task = head.run(0, 3.0)
    watching = Watching(head.store, "s")
    watching.look()
    head.store.transitions.requeue(task.id, 1, reason="its worker was lost")
    assert changes(watching.look()) == ([], [], [])
    head.store.transitions.start(task.id, 2, "w/1")
    look = watching.look()
    assert changes(look) == ([], [0], [])
    assert [row.attempt for row in look.frame.running] == [2]


def test_a_look_that_fails_loses_nothing(head: Head, monkeypatch: pytest.MonkeyPatch) -> None:
    watching = Watching(head.store, "s")
    watching.look()
    head.done(0, 3.0)

    def away(*_: Any) -> Any:
        raise redis.ConnectionError("gone")

    with monkeypatch.context() as patch:
        patch.setattr(head.store.tasks, "look", away)
        with pytest.raises(redis.ConnectionError):
            watching.look()
    assert changes(watching.look()) == ([0], [0], [0])


def test_a_study_that_is_gone_rewound_or_made_again(head: Head) -> None:
    for trial in range(3):
        head.done(trial, 3.0 - trial)
    watching = Watching(head.store, "s")
    assert best(watching.look().frame) == [2]
    head.store.studies.delete("s")
    with pytest.raises(BadInput, match="no study 's'"):
        watching.look()
    head.save(created_at=9.0)
    head.done(0, 7.0)
    look = watching.look()
    assert (best(look.frame), changes(look)) == ([0], ([], [], []))
    head.done(1, 6.0)
    assert changes(watching.look()) == ([1], [1], [1])


def test_what_workers_list_that_is_not_the_studys_is_passed_over(head: Head) -> None:
    head.run(0, 3.0)
    head.store.redis.zadd(keys.study_status("s", Status.IN_PROGRESS), {"f" * 32: 1, "../x": 2})
    watching = Watching(head.store, "s")
    assert [row.trial for row in watching.look().frame.running] == [0]
    head.store.redis.zrem(keys.study_status("s", Status.IN_PROGRESS), "f" * 32)
    assert changes(watching.look()) == ([], [], [])


def test_many_running_trials_are_counted_not_read(head: Head, monkeypatch: pytest.MonkeyPatch) -> None:
    for trial in range(150):
        head.run(trial)
    watching = Watching(head.store, "s")
    assert len(watching.look().started) == 150
    read = []
    look = head.store.tasks.look
    monkeypatch.setattr(head.store.tasks, "look", lambda ids: read.append(len(ids)) or look(ids))
    frame = watching.look().frame
    assert (len(frame.running), frame.counts[Status.IN_PROGRESS], sum(read)) == (64, 150, 64)
    assert [row.trial for row in frame.running] == list(range(64))
