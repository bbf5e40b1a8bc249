"""``worker --idle``: a worker that ends by itself, but not between two trials."""

from __future__ import annotations

import re
import signal
import time
from pathlib import Path

import redis

from tests.e2e.harness import Bench, run, started, wait_for
from tests.redisserver import RedisServer
from tests.servers import free_port
from worker.protocol import Status


def bench_in(folder: Path, redis_url: str) -> Bench:
    bench = Bench(redis_url, folder)
    bench.module(
        "fn.py", "import time\ndef value(task, seconds=0):\n    time.sleep(float(seconds))\n    return 1\n"
    )
    return bench


def test_a_worker_outlives_a_pause_and_ends_when_nothing_comes(redis_url: str, tmp_path: Path) -> None:
    bench = bench_in(tmp_path, redis_url)
    with started("worker", "--idle", "3", cwd=tmp_path, log=tmp_path / "log", REDIS_URL=redis_url) as worker:
        assert bench.ended(bench.submit("fn:value")).status is Status.COMPLETED
        time.sleep(1.5)  # the queue is empty: `--burst` would have ended here
        # Longer than --idle: only the time without a job counts.
        assert bench.ended(bench.submit("fn:value", parameters={"seconds": 4})).status is Status.COMPLETED
        begun = time.monotonic()
        assert worker.wait(20) == 0
        assert time.monotonic() - begun >= 2.5
    log = (tmp_path / "log").read_text()
    assert "slot 0 ends, as there is no work" in log
    assert "Traceback" not in log


def test_trouble_is_not_taken_for_a_want_of_work(redis_url: str, tmp_path: Path) -> None:
    bench = bench_in(tmp_path, redis_url)
    log = tmp_path / "log"
    with started("worker", "--idle", "60", cwd=tmp_path, log=log, REDIS_URL=redis_url) as worker:
        assert bench.ended(bench.submit("fn:value")).status is Status.COMPLETED
        with redis.Redis.from_url(redis_url) as client:
            client.set("rq:queue:default", "no list")  # RQ gives up on this, and its process ends with code 0
            wait_for(lambda: "starting it again" in log.read_text(), "the slot's end")
            client.delete("rq:queue:default")
        assert bench.ended(bench.submit("fn:value")).status is Status.COMPLETED
        worker.send_signal(signal.SIGTERM)
        assert worker.wait(10) == 0


def test_what_cannot_be_is_said(tmp_path: Path) -> None:
    done = run("worker", "--idle", "0", "--redis", "redis://localhost:1/0", cwd=tmp_path)
    assert (done.returncode, done.stderr) == (2, "worker: --idle 0: at least 1 second\n")
    done = run("worker", "--idle", "9", "--burst", "--redis", "redis://localhost:1/0", cwd=tmp_path)
    assert done.returncode == 2
    assert re.search("--burst doesn't wait", done.stderr)


def test_a_redis_that_comes_later_is_waited_for(tmp_path: Path) -> None:
    port = free_port()
    url = f"redis://127.0.0.1:{port}/0"
    refused = run("worker", "--burst", cwd=tmp_path, REDIS_URL=url)
    assert refused.returncode == 1
    with started("worker", "--wait", "--burst", cwd=tmp_path, log=tmp_path / "log", REDIS_URL=url) as worker:
        wait_for(lambda: "trying again" in (tmp_path / "log").read_text(), "the worker to wait")
        server = RedisServer()
        server.port = port
        with server:
            assert worker.wait(60) == 0
    log = (tmp_path / "log").read_text()
    assert "connection refused" in log
    assert "Traceback" not in log
