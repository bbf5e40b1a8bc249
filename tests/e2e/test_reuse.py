"""`reuse = true`: a process is kept for the next trials, as long as it is sound, and put back between them."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import pytest

from tests.e2e.harness import Bench, alive, assert_nothing_left, serving, wait_for
from tests.redisserver import RedisServer
from worker.protocol import Status

MODULE = """
import os, random, resource, signal, subprocess, sys, threading, time
import numpy as np
LOADED = time.monotonic()
signal.signal(signal.SIGUSR2, signal.SIG_IGN)
def state():
    mask = os.umask(0)
    os.umask(mask)
    return [mask, os.nice(0), resource.getrlimit(resource.RLIMIT_CORE)[0], os.environ.get("LEFT"), os.getcwd(),
            sys.argv, signal.getsignal(signal.SIGUSR1), signal.getsignal(signal.SIGUSR2),
            signal.getitimer(signal.ITIMER_REAL), sys.path]
def go(task, how):
    if how == "sets":
        os.umask(0o077)
        os.nice(1)
        os.environ["LEFT"] = "1"
        os.chdir("/")
        sys.argv.append("left")
        sys.path.insert(0, "/left")
        signal.signal(signal.SIGUSR1, signal.SIG_IGN)
        signal.setitimer(signal.ITIMER_REAL, 600)
    elif how == "limits":
        resource.setrlimit(resource.RLIMIT_CORE, (0, resource.getrlimit(resource.RLIMIT_CORE)[1]))
    elif how == "fails":
        raise ValueError("no")
    elif how == "killed":
        os.kill(os.getpid(), signal.SIGKILL)
    elif how == "thread":
        threading.Thread(target=time.sleep, args=(300,), daemon=True).start()
    elif how == "child":
        subprocess.Popen(["sleep", "300"])
    print(state())
    return {"loss": os.getpid(), "loaded": LOADED, "random": random.random(), "numpy": np.random.rand()}
"""


@pytest.fixture(scope="module")
def server() -> Iterator[RedisServer]:
    with RedisServer() as server:
        yield server


@pytest.fixture
def bench(server: RedisServer, tmp_path: Any) -> Iterator[Bench]:
    with server.client() as client:
        client.flushall()
    made = Bench(server.url(), tmp_path)
    made.module("kept.py", MODULE)
    with serving(made) as process:
        yield made
        process.terminate()
        assert process.wait(20) == 0
        assert_nothing_left(made.folder)


def go(bench: Bench, how: str = "nothing", **objective: Any) -> dict[str, float]:
    """What a trial has returned, and its output as one number; of one that failed, only that."""
    about = {"kind": "function", "target": "kept:go", "reuse": True, **objective}
    task_id = bench.submit(about, parameters={"how": how})
    record = bench.ended(task_id)
    assert (record.status is Status.FAILED) == (how in ("fails", "killed")), record.reason
    found = bench.store.reports.scalars([task_id])[0]
    values = {key: summary.last for key, summary in found.items() if not key.startswith(":monitor:")}
    return {**values, "state": hash(bench.output(task_id))}


def test_the_process_and_what_it_has_loaded_live_on(bench: Bench) -> None:
    trials = [go(bench) for _ in range(4)]
    assert len({trial["loss"] for trial in trials}) == 1
    assert len({trial["loaded"] for trial in trials}) == 1
    assert len({trial["random"] for trial in trials}) == len({trial["numpy"] for trial in trials}) == 4


def test_what_a_trial_sets_is_put_back(bench: Bench) -> None:
    first = go(bench)
    changed = go(bench, "sets")
    after = go(bench)
    assert changed["state"] != first["state"]
    assert after["state"] == first["state"]
    assert after["loss"] == first["loss"]
    go(bench, "limits")
    assert go(bench)["state"] == first["state"]


@pytest.mark.parametrize("how", ["fails", "killed", "thread", "child"])
def test_a_process_that_is_not_sound_is_replaced(bench: Bench, how: str) -> None:
    first = go(bench)
    go(bench, how)
    second = go(bench)
    assert second["loss"] != first["loss"]
    assert go(bench)["loss"] == second["loss"]
    assert not alive(int(first["loss"]))


def test_changes_of_files_and_the_limit_replace_it(bench: Bench) -> None:
    first = go(bench)
    bench.module("kept.py", MODULE + "\n# changed\n")
    assert go(bench)["loss"] != first["loss"]
    pids = [go(bench, reuse_limit=2)["loss"] for _ in range(4)]
    assert pids[0] == pids[1] != pids[2] == pids[3]


def test_one_that_idles_ends_and_the_next_trial_gets_another(bench: Bench) -> None:
    """It waits for 10 s."""
    first = go(bench)
    begun = time.monotonic()
    wait_for(lambda: not alive(int(first["loss"])), "its end")
    assert time.monotonic() - begun > 5
    assert go(bench)["loss"] != first["loss"]
