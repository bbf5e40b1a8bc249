"""Tags and notes: the same tests on fakeredis and on a real Redis."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import fakeredis
import pytest

from tests.fakes import ManualClock, record
from worker.protocol import Reason, Status, Store, TaskSpec, keys
from worker.protocol.connection import connect
from worker.protocol.copies import read_tasks, write_tasks
from worker.protocol.errors import BadInput, NoSuchTask
from worker.protocol.signature import Signer
from worker.protocol.tags import LONGEST_NOTE, LONGEST_TAG, MAX_TAGS


@pytest.fixture(params=["fakeredis", "redis"])
def client(request: pytest.FixtureRequest) -> Iterator[Any]:
    if request.param == "fakeredis":
        yield fakeredis.FakeRedis(decode_responses=True)
    else:
        client = connect(request.getfixturevalue("redis_url"), patience_s=0)
        yield client
        client.close()


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def store(client: Any, clock: ManualClock) -> Store:
    return Store(client, clock)


def test_tags_come_and_go(store: Store) -> None:
    task = record(spec=TaskSpec(tags=("first", "old")))
    store.tasks.create(task)
    assert store.tasks.get(task.id).all_tags == ("first", "old")
    written = store.labels.tag(task.id, ["good", " good ", "first"], ["old", "never there"])
    assert written.all_tags == ("first", "good")
    assert store.tasks.get(task.id) == written == replace(task, tags=("first", "good"))
    assert store.labels.tag(task.id, remove=["first", "good"]).all_tags == ()
    assert store.tasks.get(task.id).all_tags == ()


def test_a_note_is_written_replaced_and_removed(store: Store) -> None:
    task = record()
    store.tasks.create(task)
    store.labels.note(task.id, "  one\r\nzwei \u2713\t3 ")
    assert store.tasks.get(task.id).note == "one\nzwei \u2713\t3"
    store.labels.note(task.id, "two")
    assert store.tasks.get(task.id).note == "two"
    store.labels.note(task.id, " ")
    assert store.tasks.get(task.id) == task


@pytest.mark.parametrize("status", list(Status))
def test_any_task_may_be_labelled_whatever_it_does(store: Store, status: Status) -> None:
    task = record(status=status)
    store.tasks.create(task)
    store.labels.tag(task.id, ["good"])
    store.labels.note(task.id, "text")
    assert store.tasks.get(task.id) == replace(task, tags=("good",), note="text")


def test_a_task_keeps_its_labels_to_its_end_and_in_a_copy(store: Store) -> None:
    task = record(status=Status.QUEUED)
    store.tasks.create(task)
    store.labels.tag(task.id, ["good"])
    running = store.transitions.start(task.id, 1, "w/0")
    store.labels.note(task.id, "text")
    ended = store.transitions.finish(task.id, 1, Status.FAILED, worker="w/0", reason_class=Reason.USER)
    assert (running.all_tags, ended.all_tags, ended.note) == (("good",), ("good",), "text")
    copies = list(read_tasks(store, [task.id]))
    store.redis.delete(keys.task(task.id))
    write_tasks(store, copies)
    assert store.tasks.get(task.id) == ended


def test_what_is_signed_is_not_touched(store: Store) -> None:
    signer = Signer("x" * 32)
    task = record(status=Status.QUEUED, spec=TaskSpec(tags=("of the program",)))
    store.tasks.create(task)
    token = signer.sign(task)
    store.labels.tag(task.id, ["good"], ["of the program"])
    signer.verify(token, store.tasks.get(task.id))


def test_a_programs_change_of_tags_counts_as_a_persons(store: Store) -> None:
    task = record()
    store.tasks.create(task)
    store.labels.tag(task.id, ["good"])
    store.tasks.edit(task.id, lambda old: replace(old, spec=replace(old.spec, tags=("of the program",))))
    assert store.tasks.get(task.id).all_tags == ("of the program",)


def test_changes_at_the_same_moment_are_all_kept(redis_url: str) -> None:
    task = record()
    stores = [Store(connect(redis_url, patience_s=0)) for _ in range(4)]
    stores[0].tasks.create(task)

    def add(number: int) -> None:
        for place in range(5):
            stores[number].labels.tag(task.id, [f"{number}-{place}"])

    threads = [threading.Thread(target=add, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert set(stores[0].tasks.get(task.id).all_tags) == {f"{n}-{p}" for n in range(4) for p in range(5)}


def test_who_keeps_rows_is_told_what_was_touched(store: Store, clock: ManualClock) -> None:
    tasks = [record(trial=number) for number in range(3)]
    for task in tasks:
        store.tasks.create(task)
    assert store.labels.touched("s", 0) == []
    before = clock.now()
    store.labels.tag(tasks[0].id, ["good"])
    clock.sleep(10)
    store.labels.note(tasks[1].id, "text")
    store.labels.touch("s", [tasks[2].id])
    store.labels.touch("s", [])
    assert store.labels.touched("s", before) == [tasks[0].id, *sorted(t.id for t in tasks[1:])]
    assert set(store.labels.touched("s", before + 10)) == {tasks[1].id, tasks[2].id}
    assert store.labels.touched("other", 0) == []


@pytest.mark.parametrize("tag", ["", "  ", "a\nb", "\x1b[31m", "x" * (LONGEST_TAG + 1), "a\u202eb"])
def test_what_is_no_tag_changes_nothing(store: Store, tag: str) -> None:
    task = record()
    store.tasks.create(task)
    with pytest.raises(BadInput, match="tag "):
        store.labels.tag(task.id, ["good", tag])
    assert store.tasks.get(task.id) == task


def test_limits(store: Store) -> None:
    task = record()
    store.tasks.create(task)
    store.labels.tag(task.id, [str(number) for number in range(MAX_TAGS)])
    store.labels.tag(task.id, ["one more"], ["0"])
    with pytest.raises(BadInput, match=f"at most {MAX_TAGS} tags"):
        store.labels.tag(task.id, ["0"])
    store.labels.note(task.id, "x" * LONGEST_NOTE)
    for text in ("x" * (LONGEST_NOTE + 1), "a\x00b", "\x1b]0;x\x07"):
        with pytest.raises(BadInput, match="a note has"):
            store.labels.note(task.id, text)
    assert store.tasks.get(task.id).note == "x" * LONGEST_NOTE


def test_there_has_to_be_a_task(store: Store) -> None:
    with pytest.raises(NoSuchTask):
        store.labels.tag("0" * 32, ["good"])
    with pytest.raises(NoSuchTask):
        store.labels.note("0" * 32, "text")
    assert store.redis.keys("*") == []


@pytest.mark.parametrize("text", ["x", '"x"', "[1]", "{}", "[" * 100_000, "x" * 2_000_000])
def test_tags_that_somebody_has_spoiled(store: Store, text: str) -> None:
    task = record()
    store.tasks.create(task)
    store.redis.hset(keys.task(task.id), "tags", text)
    assert store.tasks.get_many([task.id]) == [None]
