"""Libraries are imported beforehand, by a process that trials are forked from; nothing of the user's is."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.e2e.harness import Bench, alive, assert_nothing_left, descendants, serving, wait_for
from tests.redisserver import RedisServer
from worker.protocol import Reason, Status

LIBRARY = """
import os, socket, subprocess, sys, threading, time
with open(os.environ["IMPORTS"] + "/" + __name__, "a") as file:
    file.write(f"{os.getpid()}\\n")
seen = os.environ.get("SET_BY_THE_USER")
AT_IMPORT
"""
OWN = """
import os, signal, sys, threading, time
os.environ["SET_BY_THE_USER"] = "yes"
import big_library
with open(os.environ["IMPORTS"] + "/own", "a") as file:
    file.write(f"{os.getpid()}\\n")
AT_IMPORT
def go(task, how):
    if how == "fails":
        raise ValueError("no")
    if how == "killed":
        os.kill(os.getpid(), signal.SIGKILL)
    if how == "thread":
        threading.Thread(target=time.sleep, args=(300,), daemon=True).start()
    if how == "long":
        time.sleep(60)
    if how == "lazy":
        import late_library
    assert big_library.seen == "yes"
    return os.getpid()
"""


@pytest.fixture(scope="module")
def server() -> Iterator[RedisServer]:
    with RedisServer(appendonly=True, config=["appendfsync always"]) as server:
        yield server


@pytest.fixture
def bench(server: RedisServer, tmp_path: Path) -> Bench:
    with server.client() as client:
        client.flushall()
    made = Bench(server.url(), tmp_path)
    (tmp_path / "site-packages").mkdir()
    library(made, "big_library")
    library(made, "late_library")
    made.module("heavy.py", OWN.replace("AT_IMPORT", ""))
    return made


def library(bench: Bench, name: str, at_import: str = "") -> None:
    bench.module(f"site-packages/{name}.py", LIBRARY.replace("AT_IMPORT", at_import))


@pytest.fixture
def worker(bench: Bench) -> Iterator[Any]:
    with serving(bench, PYTHONPATH=str(bench.folder / "site-packages"), IMPORTS=str(bench.folder)) as process:
        yield process


def imports(bench: Bench, name: str) -> list[int]:
    """Processes that have imported a module, in that order."""
    path = bench.folder / name
    return [int(text) for text in path.read_text().split()] if path.exists() else []


def go(bench: Bench, how: str = "value") -> tuple[str, int]:
    """A task that has run; its id, and the process that ran it (0 where it said nothing)."""
    task_id = bench.submit("heavy:go", parameters={"how": how})
    record = bench.ended(task_id)
    if how in ("fails", "killed"):
        assert (record.status, record.reason_class) == (Status.FAILED, Reason.OBJECTIVE_ERROR), record.reason
        return task_id, 0
    assert record.status is Status.COMPLETED, record.reason
    return task_id, int(bench.store.reports.scalars([task_id])[0]["loss"].last)


def test_libraries_are_imported_once_and_own_code_by_each_trial(bench: Bench, worker: Any) -> None:
    _, first = go(bench)
    pids = [first]
    for how in ("value", "fails", "killed", "thread", "value"):
        go(bench, how)
        pids.append(go(bench)[1])
    assert len(set(pids)) == len(pids)
    assert not any(alive(pid) for pid in pids)
    # The first trial itself, and the process that the others are forked from.
    by_trial, nursery = imports(bench, "big_library")
    assert by_trial == first
    assert nursery not in pids
    assert len(imports(bench, "own")) == 11
    worker.terminate()
    assert worker.wait(20) == 0
    assert_nothing_left(bench.folder)


def test_what_a_trial_imports_late_is_there_for_the_next(bench: Bench, worker: Any) -> None:
    go(bench)
    pids = [go(bench, "lazy")[1] for _ in range(3)]
    late = imports(bench, "late_library")
    assert len(late) == 2
    assert late[0] == pids[0]
    assert late[1] == imports(bench, "big_library")[1]


def test_what_a_library_sets_for_python_is_set_in_all_trials(bench: Bench, worker: Any) -> None:
    library(
        bench, "big_library", "import warnings; warnings.filterwarnings('ignore', message='of big_library')"
    )
    found = "any('big_library' in str(each[1]) for each in __import__('warnings').filters)"
    bench.module(
        "heavy.py", OWN.replace("AT_IMPORT", "").replace("return os.getpid()", f"return int({found})")
    )
    assert [go(bench)[1] for _ in range(3)] == [1, 1, 1]


def test_changes_of_own_files_are_seen_with_the_next_trial(bench: Bench, worker: Any) -> None:
    go(bench)
    go(bench)
    bench.module("heavy.py", OWN.replace("AT_IMPORT", "").replace("return os.getpid()", "return 7.0"))
    assert go(bench)[1] == 7
    assert len(imports(bench, "big_library")) == 2


@pytest.mark.parametrize(
    "at_import",
    [
        "threading.Thread(target=time.sleep, args=(300,), daemon=True).start()",
        "connection = socket.socketpair()",
        "child = subprocess.Popen(['sleep', '300'])",
        "sys.modules['jax'] = sys",
    ],
    ids=["thread", "connection", "process", "jax"],
)
def test_a_library_that_does_not_survive_a_fork_is_left_out(
    bench: Bench, worker: Any, at_import: str
) -> None:
    library(bench, "late_library", at_import)
    bench.module("heavy.py", OWN.replace("AT_IMPORT", "import late_library"))
    pids = [go(bench)[1] for _ in range(4)]
    # Each trial imports it, after one process has found out.
    late = imports(bench, "late_library")
    assert set(pids) < set(late)
    assert len(late) == 5
    # The first trial, the process that found out, and the one that took its place.
    assert len(imports(bench, "big_library")) == 3


def test_linear_algebra_may_have_threads(bench: Bench, worker: Any) -> None:
    product = "float((numpy.ones((300, 300)) @ numpy.ones((300, 300))).sum())"
    source = OWN.replace("AT_IMPORT", f"import numpy; {product}")
    bench.module("heavy.py", source.replace("return os.getpid()", f"return os.getpid() + 0 * {product}"))
    assert len({go(bench)[1] for _ in range(3)}) == 3
    assert len(imports(bench, "big_library")) == 2


@pytest.mark.parametrize("victim", ["nursery", "parent", "next"])
def test_whatever_is_killed_while_it_idles_is_replaced(bench: Bench, worker: Any, victim: str) -> None:
    go(bench)
    go(bench)
    nursery = imports(bench, "big_library")[-1]
    (ahead,) = wait_for(lambda: descendants(nursery), "the process of the next trial")
    doomed = {"parent": psutil.Process(nursery).ppid(), "nursery": nursery, "next": ahead}[victim]
    os.kill(doomed, signal.SIGKILL)
    wait_for(lambda: not alive(ahead), "its end")
    _, third = go(bench)
    go(bench)
    assert third != ahead
    assert len(imports(bench, "big_library")) == (2 if victim == "next" else 4)


def test_the_next_trial_waits_in_a_process_of_its_own(bench: Bench, worker: Any) -> None:
    go(bench)
    go(bench)
    nursery = imports(bench, "big_library")[-1]
    for how in ("value", "fails", "lazy", "value"):
        (ahead,) = wait_for(lambda: descendants(nursery), "the process of the next trial")
        before = len(imports(bench, "own"))
        _, pid = go(bench, how)
        assert pid in (0, ahead)
        assert imports(bench, "own")[before:] == [ahead]
        assert not alive(ahead)
    # What the trial before the last has imported late was there for the last one.
    assert imports(bench, "late_library")[-1] == nursery


@pytest.mark.parametrize("victim", ["nursery", "parent"])
def test_killing_what_forked_it_ends_a_running_trial(bench: Bench, worker: Any, victim: str) -> None:
    go(bench)
    go(bench)
    nursery = imports(bench, "big_library")[-1]
    task_id = bench.submit("heavy:go", parameters={"how": "long"})
    wait_for(lambda: len(imports(bench, "own")) == 3, "the trial")
    os.kill(nursery if victim == "nursery" else psutil.Process(nursery).ppid(), signal.SIGKILL)
    record = bench.ended(task_id)
    assert (record.status, record.reason) == (Status.FAILED, "its process was killed by SIGKILL")
    go(bench)


def test_a_stop_request_during_the_import_is_kept(bench: Bench, worker: Any) -> None:
    bench.module("heavy.py", OWN.replace("AT_IMPORT", "time.sleep(2)"))
    task_id = bench.submit("heavy:go", parameters={"how": "long"}, grace_s=30.0)
    wait_for(lambda: imports(bench, "own"), "the import")
    begun = time.monotonic()
    bench.store.transitions.request_stop(task_id, Reason.USER, "enough")
    record = bench.ended(task_id)
    assert (record.status, record.reason) == (Status.STOPPED, "enough")
    # Neither its minute nor the grace period after which it would have been killed.
    assert time.monotonic() - begun < 30


def test_nobody_is_left_when_the_slot_is_killed(bench: Bench, worker: Any) -> None:
    go(bench)
    go(bench)
    nursery = imports(bench, "big_library")[-1]
    parent = psutil.Process(nursery).parent()
    assert parent is not None
    slot = parent.parent()
    assert slot is not None
    slot.kill()
    wait_for(lambda: not alive(nursery) and not alive(parent.pid), "their end")
