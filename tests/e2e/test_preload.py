"""A trial's process is replaced after a failure without paying for the objective's imports again."""

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

HEAVY = """
import os, signal, socket, subprocess, sys, threading, time
with open("imports", "a") as file:
    file.write(f"{os.getpid()}\\n")
print("imported")
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
    made.module("heavy.py", HEAVY.replace("AT_IMPORT", ""))
    return made


@pytest.fixture
def worker(bench: Bench) -> Iterator[Any]:
    with serving(bench) as process:
        yield process


def imports(bench: Bench) -> list[int]:
    path = bench.folder / "imports"
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


def test_what_was_imported_outlives_failures(bench: Bench, worker: Any) -> None:
    first, one = go(bench)
    assert go(bench)[1] == one
    pids = [one]
    for how in ("fails", "killed"):
        failed, _ = go(bench, how)
        assert "imported" not in bench.output(failed)
        pids.append(go(bench)[1])
    pids.append(go(bench, "thread")[1])
    assert pids[-1] == pids[-2]
    pids.append(go(bench)[1])
    assert len(set(pids)) == 4
    (parent,) = imports(bench)
    assert parent not in pids
    assert bench.output(first).splitlines() == ["imported"]
    assert [pid for pid in pids if alive(pid)] == [pids[-1]]
    worker.terminate()
    assert worker.wait(20) == 0
    assert_nothing_left(bench.folder)


def test_a_changed_file_is_imported_anew(bench: Bench, worker: Any) -> None:
    go(bench)
    go(bench, "fails")
    path = bench.folder / "heavy.py"
    path.write_text(path.read_text() + "\n# changed\n")
    go(bench)
    assert len(set(imports(bench))) == 2


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
def test_what_does_not_survive_a_fork_is_not_forked(bench: Bench, worker: Any, at_import: str) -> None:
    bench.module("heavy.py", HEAVY.replace("AT_IMPORT", at_import))
    _, pid = go(bench)
    assert imports(bench) == [pid]
    go(bench, "fails")
    _, other = go(bench)
    assert len(imports(bench)) >= 2
    assert imports(bench)[-1] == other


def test_linear_algebra_may_have_threads(bench: Bench, worker: Any) -> None:
    bench.module(
        "heavy.py",
        HEAVY.replace("AT_IMPORT", "import numpy; numpy.ones((300, 300)) @ numpy.ones((300, 300))"),
    )
    source = (
        (bench.folder / "heavy.py")
        .read_text()
        .replace(
            "return os.getpid()",
            "return os.getpid() + 0 * float((numpy.ones((300, 300)) @ numpy.ones((300, 300))).sum())",
        )
    )
    bench.module("heavy.py", source)
    _, one = go(bench)
    go(bench, "fails")
    _, other = go(bench)
    assert one != other
    assert len(imports(bench)) == 1


@pytest.mark.parametrize("victim", ["parent", "child"])
def test_whatever_is_killed_while_it_idles_is_replaced(bench: Bench, worker: Any, victim: str) -> None:
    _, child = go(bench)
    (parent,) = imports(bench)
    os.kill({"parent": parent, "child": child}[victim], signal.SIGKILL)
    wait_for(lambda: not alive(child), "its end")
    _, other = go(bench)
    assert other != child
    assert len(imports(bench)) == (2 if victim == "parent" else 1)


def test_killing_the_parent_ends_a_running_trial(bench: Bench, worker: Any) -> None:
    task_id = bench.submit("heavy:go", parameters={"how": "long"})
    wait_for(
        lambda: imports(bench) and bench.store.tasks.get(task_id).status is Status.IN_PROGRESS, "its start"
    )
    (parent,) = imports(bench)
    wait_for(lambda: descendants(parent), "the child")
    os.kill(parent, signal.SIGKILL)
    record = bench.ended(task_id)
    assert (record.status, record.reason) == (Status.FAILED, "its process was killed by SIGKILL")
    go(bench)


def test_a_stop_request_during_the_import_is_kept(bench: Bench, worker: Any) -> None:
    bench.module("heavy.py", HEAVY.replace("AT_IMPORT", "time.sleep(2)"))
    task_id = bench.submit("heavy:go", parameters={"how": "long"}, grace_s=30.0)
    wait_for(lambda: imports(bench), "the import")
    begun = time.monotonic()
    bench.store.transitions.request_stop(task_id, Reason.USER, "enough")
    record = bench.ended(task_id)
    assert (record.status, record.reason) == (Status.STOPPED, "enough")
    # Neither its minute nor the grace period after which it would have been killed.
    assert time.monotonic() - begun < 30
    # And what was imported is there for the next one.
    go(bench)
    assert len(imports(bench)) == 1


def test_nobody_is_left_when_the_slot_is_killed(bench: Bench, worker: Any) -> None:
    _, child = go(bench)
    (parent,) = imports(bench)
    slot = psutil.Process(parent).parent()
    assert slot is not None
    slot.kill()
    wait_for(lambda: not alive(parent) and not alive(child), "their end")
