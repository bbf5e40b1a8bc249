"""`controller tag` and `note`: what they take, what they say, what stands in the study's log."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable

import pytest
from click.testing import CliRunner

from controller.commands import main
from controller.control.labels import note_task, tag_task
from tests.fakes import LOSS, record
from worker.protocol import Status, Store, StudyRecord, TaskSpec
from worker.protocol.connection import connect
from worker.protocol.errors import BadInput

Call = Callable[..., tuple[int, str]]


@pytest.fixture
def store(redis_url: str) -> Store:
    found = Store(connect(redis_url, patience_s=0))
    found.studies.save(StudyRecord(name="s", created_at=1.0, metrics=(LOSS,)))
    return found


@pytest.fixture
def call(redis_url: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Call:
    """Calls the command; returns its exit code, and what it has written."""
    monkeypatch.setenv("REDIS_URL", redis_url)

    def run(*arguments: str) -> tuple[int, str]:
        monkeypatch.setattr(sys, "argv", ["controller", *arguments])
        with pytest.raises(SystemExit) as ended:
            main.main()
        said = capsys.readouterr()
        return int(ended.value.code or 0), said.out + said.err

    return run


def task_in(store: Store, trial: int = 3) -> str:
    task = record(trial=trial, status=Status.COMPLETED, spec=TaskSpec(parameters={"x": 1}, tags=("first",)))
    store.tasks.create(task)
    return task.id


def log_of(store: Store) -> list[tuple[str, str, str]]:
    return [(entry.kind, entry.text, entry.task) for entry in store.study_log.last("s")]


def test_tags_and_notes_from_the_command_line(store: Store, call: Call) -> None:
    task = task_in(store)
    short = task[:12]
    assert call("tag", short, "+good", "-bad", "+second look", "-hard") == (
        0,
        f"task {task[:8]}: tags first, good, second look\n",
    )
    assert call("tag", short) == (0, "first\ngood\nsecond look\n")
    assert call("tag", task, "-first", "-good", "-second look") == (0, f"task {task[:8]}: no tags\n")
    assert call("note", short, "look at this") == (0, f"task {task[:8]}: noted\n")
    assert call("note", short) == (0, "look at this\n")
    kept = store.tasks.get(task)
    assert (kept.all_tags, kept.note, kept.status) == ((), "look at this", Status.COMPLETED)
    assert call("note", short, "--remove") == (0, f"task {task[:8]}: no note\n")
    assert call("note", short) == (0, "")
    assert log_of(store) == [
        ("tag", "trial 3: tags +good +second look -bad -hard", task),
        ("tag", "trial 3: tags -first -good -second look", task),
        ("tag", "trial 3: note: look at this", task),
        ("tag", "trial 3: note removed", task),
    ]
    assert all("@" in entry.by for entry in store.study_log.last("s"))


def test_they_are_shown_and_found(store: Store, call: Call) -> None:
    task, other = task_in(store, 3), task_in(store, 4)
    call("tag", task, "+good")
    call("note", task, "converges late")
    code, said = call("tasks", "s", "--where", '"good" in tags and "late" in note', "--format", "json")
    (row,) = json.loads(said)
    assert (code, row["task_id"], row["tags"], row["note"]) == (0, task, ["first", "good"], "converges late")
    code, said = call("tasks", "s", "--format", "csv", "--where", '"good" not in tags')
    assert (code, said.count("\n"), other in said) == (0, 2, True)
    code, said = call("tasks", "s")
    assert (code, "first, good" in said, "converges late" in said) == (0, True, True)
    code, said = call("tasks", "s", "--columns", "trial, tags", "--sort", "-trial", "--format", "csv")
    assert (code, said) == (0, 'trial,tags\n4,first\n3,"first, good"\n')
    code, said = call("show", task)
    assert [line.split(maxsplit=1) for line in said.splitlines() if line.startswith(("tags", "note"))] == [
        ["tags", "first, good"],
        ["note", "converges late"],
    ]
    code, said = call("show", task, "--format", "json")
    assert (json.loads(said)["tags"], json.loads(said)["note"]) == (["first", "good"], "converges late")


def test_a_note_from_standard_input(store: Store, redis_url: str) -> None:
    task = task_in(store)
    done = CliRunner(env={**os.environ, "REDIS_URL": redis_url}).invoke(
        main.command, ["note", task, "-"], input="two\nlines\n"
    )
    assert (done.exit_code, store.tasks.get(task).note) == (0, "two\nlines")


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (("tag", "TASK", "good"), "tag 'good': write +good to add it, -good to remove it"),
        (("tag", "TASK", "+"), "tag '': a tag has 1 to 100 printable characters"),
        (("tag", "TASK", "+a", "-a"), "tag 'a': add it or remove it, not both"),
        (("tag", "TASK", "--bed", "x"), "tag 'x': write +x"),
        (("tag", "zz", "+a"), "no task 'zz'"),
        (("note", "TASK", ""), "the TEXT is empty; --remove removes a note"),
        (("note", "TASK", "x", "--remove"), "give a TEXT or --remove"),
        (("note", "TASK", "a\x07b"), "control character"),
        (("tasks", "s", "--where", "lr <"), "filter, column 5"),
        (("tasks", "s", "--where", "y < 1"), "filter, column 1: there is no y"),
        (("tasks", "s", "--sort", "los"), "sort: there is no los; did you mean loss?"),
        (("tasks", "s", "--columns", "trail"), "columns: there is no trail; did you mean trial?"),
        (("tasks", "--base", "--where", "x < 1"), "--base lists what is outside any study"),
    ],
)
def test_bad_input_is_one_line(store: Store, call: Call, arguments: tuple[str, ...], problem: str) -> None:
    task = task_in(store)
    code, said = call(*(task if each == "TASK" else each for each in arguments))
    assert (code, said.count("\n")) == (2, 1), said
    assert said.startswith("controller: ")
    assert problem in said
    assert store.tasks.get(task).tags is None


def test_what_a_worker_has_written_is_shown_as_text(store: Store, call: Call) -> None:
    task = task_in(store)
    store.redis.hset(f"orq:task:{task}", mapping={"tags": '["a\\u001b[31m"]', "note": "b\x1b]0;x\x07"})
    for arguments in (("tag", task), ("note", task), ("tag", task, "+c"), ("tasks", "s"), ("show", task)):
        code, said = call(*arguments)
        assert (code, "\x1b" in said) == (0, False), said


def test_a_log_is_written_of_the_studys_own_tasks_alone(store: Store) -> None:
    stranger = record(study="", trial=-1)
    store.tasks.create(stranger)
    store.redis.hset(f"orq:task:{stranger.id}", "study", "s")
    tag_task(store, stranger.id, add=["a"], by="me")
    assert log_of(store) == []
    task = task_in(store)
    note_task(store, task, "x" * 1000, by="me")
    (entry,) = store.study_log.last("s")
    assert (entry.by, entry.text) == ("me", f"trial 3: note: {'x' * 199}…")
    with pytest.raises(BadInput):
        tag_task(store, "0" * 32, add=["a"], by="me")
