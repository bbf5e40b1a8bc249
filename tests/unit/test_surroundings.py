"""Surroundings: looked at, recorded once with a study, compared, bounded where they are read."""

from __future__ import annotations

import json
import subprocess
import threading
from dataclasses import replace
from pathlib import Path

import fakeredis
import pytest

from controller.session.environment import note_surroundings
from tests.fakes import ManualClock, record
from worker.process.surroundings import git_state, look, packages
from worker.protocol import Store, keys
from worker.protocol.errors import RecordError
from worker.protocol.recorded_surroundings import MOST_VERSIONS, RecordedSurroundings
from worker.protocol.surroundings import MAX_PACKAGES, GitState, Surroundings, differences
from worker.slot.surroundings import SurroundingsNotes, look_aside

HERE = Surroundings(
    at=5.0,
    host="n1",
    python="CPython 3.11.7",
    packages={"numpy": "1.26.4", "torch": "2.3.0+cu121"},
    git=GitState(commit="c1", branch="main"),
)


@pytest.fixture
def store() -> Store:
    return Store(fakeredis.FakeStrictRedis(decode_responses=True), ManualClock())


def git(folder: Path, *arguments: str) -> None:
    who = ("-c", "user.name=a", "-c", "user.email=a@b", "-c", "commit.gpgsign=false")
    subprocess.run(["git", *who, *arguments], cwd=folder, check=True, capture_output=True)


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    git(tmp_path, "init", "-q", "-b", "main")
    (tmp_path / "train.py").write_text("lr = 1\n")
    git(tmp_path, "add", "train.py")
    git(tmp_path, "commit", "-q", "-m", "first")
    return tmp_path


def test_what_this_machine_is(tmp_path: Path) -> None:
    found = look(tmp_path, 7.0)
    assert (found.at, found.git) == (7.0, None)
    assert found.python.startswith("CPython 3.")
    assert found.packages["redis"] == __import__("redis").__version__
    assert "optuna" in packages()
    assert Surroundings.decode(found.encode()) == found
    assert f"redis=={found.packages['redis']}\n" in found.requirements()


def test_a_repository_and_what_differs_from_its_commit(repository: Path) -> None:
    clean, diff = git_state(repository)
    assert clean is not None
    assert (clean.branch, clean.dirty, clean.diff_sha256, clean.untracked, diff) == (
        "main",
        False,
        "",
        (),
        b"",
    )
    (repository / "train.py").write_text("lr = 2\n")
    (repository / "näw.py").write_text("")
    (repository / "sub").mkdir()
    dirty, diff = git_state(repository / "sub")
    assert dirty is not None
    assert (dirty.commit, dirty.dirty, dirty.untracked) == (clean.commit, True, ("näw.py",))
    assert b"-lr = 1\n+lr = 2\n" in diff
    assert len(dirty.diff_sha256) == 64


def test_a_repository_runs_nothing_here(repository: Path) -> None:
    trap = repository / "trap.sh"
    trap.write_text(f"#!/bin/sh\ntouch {repository}/ran\n")
    trap.chmod(0o755)
    git(repository, "config", "core.fsmonitor", str(trap))
    git(repository, "config", "diff.external", str(trap))
    (repository / "train.py").write_text("lr = 2\n")
    state, diff = git_state(repository)
    assert state is not None
    assert b"+lr = 2" in diff
    assert not (repository / "ran").exists()


def test_what_differs() -> None:
    there = replace(
        HERE,
        host="n2",
        packages={"numpy": "2.0.0", "scipy": "1.0"},
        git=GitState(commit="c1", branch="main", dirty=True, diff_sha256="f" * 64),
    )
    assert list(map(str, differences(HERE, there))) == [
        "host: n1 → n2",
        "git changes: clean → ffffffffffff",
        "package numpy: 1.26.4 → 2.0.0",
        "package scipy: none → 1.0",
        "package torch: 2.3.0+cu121 → none",
    ]
    assert differences(HERE, there, code=False, host=False)[0].what == "package numpy"
    assert differences(HERE, replace(HERE, at=9.0)) == []


def test_a_studys_are_recorded_once_and_each_change(store: Store, repository: Path) -> None:
    (repository / "train.py").write_text("password = 'hunter2-Tr0ub4dor'\nlr = 2\n")
    assert note_surroundings(store, "s", repository) == ""
    assert note_surroundings(store, "s", repository) == ""
    recorded = store.surroundings.of_study("s")
    assert recorded.first is not None
    assert recorded.first.git is not None
    assert recorded.later == ()
    assert "+lr = 2" in recorded.diff["text"]
    assert "hunter2" not in str(store.redis.hgetall(keys.study_surroundings("s")))
    git(repository, "checkout", "-q", "-f", "-b", "other")
    changed = note_surroundings(store, "s", repository)
    assert changed.startswith("; changed since: git branch: main → other, git changes: ")
    assert note_surroundings(store, "s", repository) == ""
    assert len(store.surroundings.of_study("s").later) == 1
    assert store.surroundings.of_study("s").first == recorded.first


def test_a_slot_notes_what_its_worker_has_seen(store: Store, tmp_path: Path) -> None:
    file = tmp_path / "seen.json"
    notes = SurroundingsNotes(store, "w", file)
    task = record(worker="w/0", started_at=4.0)
    notes.note(task)  # nothing is known yet
    assert store.surroundings.of_task(task) is None
    file.write_text(HERE.encode())
    notes.note(task)
    assert store.surroundings.of_task(task) == HERE
    before = store.redis.hgetall(keys.study_seen("s"))
    store.redis.delete(keys.study_seen("s"))
    notes.note(task)
    assert store.redis.hgetall(keys.study_seen("s")) == {}  # once in its life
    store.redis.hset(keys.study_seen("s"), mapping=before)
    alone = record(study="", trial=-1, worker="w/0")
    notes.note(alone)
    assert store.surroundings.of_task(alone) == HERE


def test_the_daemon_looks_aside(tmp_path: Path) -> None:
    look_aside(tmp_path, tmp_path / "seen.json", 3.0)
    for thread in threading.enumerate():
        if thread.name == "optuna-rq-surroundings":
            thread.join(30)
    assert Surroundings.decode((tmp_path / "seen.json").read_text()).at == 3.0


def test_which_of_a_workers_an_attempt_had(store: Store) -> None:
    for number in range(MOST_VERSIONS + 2):
        seen = replace(HERE, at=1000.0 * number, python=f"3.{number}")
        store.surroundings.note_worker(record(), "w", seen)
    recorded = store.surroundings.of_study("s")
    assert len(recorded.workers["w"]) == MOST_VERSIONS
    found = recorded.of_slot("w/1", 4500.0)
    assert found is not None
    assert found.python == "3.4"
    assert recorded.of_slot("w/1", 500.0) is None  # what it was then is not kept any more
    assert recorded.of_slot("other/0", 4500.0) is None
    assert recorded.of_slot("", None) is None


def test_records_of_a_hostile_worker_are_bounded(store: Store) -> None:
    huge = {**HERE.as_dict(), "host": "x" * 10_000, "system": "\x1b[2J", "git": None}
    huge["packages"] = {f"p{number}": "1" for number in range(MAX_PACKAGES + 10)}
    store.redis.hset(keys.study_seen("s"), "w", json.dumps([huge]))
    store.redis.hset(keys.study_seen("s"), "a bad\nname", json.dumps([HERE.as_dict()]))
    for name, text in {"n": "no json", "l": '"text"', "k": '[{"at": "x"}]', "d": "[" * 100_000}.items():
        store.redis.hset(keys.study_seen("s"), name, text)
    recorded = store.surroundings.of_study("s")
    assert "a bad\nname" not in recorded.workers
    assert [recorded.workers[name] for name in "nlkd"] == [()] * 4
    (found,) = recorded.workers["w"]
    assert len(found.packages) == MAX_PACKAGES
    assert len(found.host) <= 201
    assert found.system.isprintable()


@pytest.mark.parametrize("data", [None, [], {}, {"at": -1}, {"at": 1, "packages": 3}, {"at": 1, "git": "x"}])
def test_what_is_no_record_is_refused(data: object) -> None:
    with pytest.raises(RecordError):
        Surroundings.of(data)


def test_all_of_a_study_goes_elsewhere_and_with_it(store: Store) -> None:
    recorded = RecordedSurroundings(
        first=HERE, diff={"text": "+x"}, later=(replace(HERE, at=9.0),), workers={"w": (HERE,)}
    )
    assert RecordedSurroundings.of(json.loads(json.dumps(recorded.as_dict()))) == recorded
    store.surroundings.write("t", recorded)
    assert store.surroundings.of_study("t") == recorded
    assert store.surroundings.of_study("nothing known") == RecordedSurroundings()
    store.studies.delete("t")
    assert store.surroundings.of_study("t") == RecordedSurroundings()
