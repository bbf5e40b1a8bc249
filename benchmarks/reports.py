"""What one `report_scalar` costs the training loop, beside writing to Redis itself."""

from __future__ import annotations

import socket
import statistics
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path

import redis

from benchmarks.rows import Row
from benchmarks.studies import redis_server
from worker.process.channel import Endpoint, Lines
from worker.sdk.session import ChannelSession
from worker.sdk.task import Task


def rows(runs: int, quick: bool, say: Callable[[str], None]) -> list[Row]:
    say("report_scalar")
    pairs = [measure(2000 if quick else 20000) for _ in range(runs)]
    ours, reference = (statistics.median(values) for values in zip(*pairs, strict=True))
    name = "report_scalar, µs of the caller (reference: pipelined XADD + HSET)"
    return [Row(name=name, ours=ours, reference=reference, sense="<=", aim=0.5)]


def measure(count: int) -> tuple[float, float]:
    """Microseconds per report: ours, over a channel that is read at its other end, and the reference."""
    ours, theirs = socket.socketpair()
    seen = [0]

    def drain() -> None:
        lines = Lines()
        while data := theirs.recv(1 << 16):
            seen[0] += sum(len(message["points"]) for message in lines.feed(data))

    reader = threading.Thread(target=drain, daemon=True)
    reader.start()
    task = Task({"id": "0" * 32, "parameters": {}}, ChannelSession(Endpoint(ours)))
    begun = time.perf_counter()
    for iteration in range(count):
        task.report_scalar("loss", "", 0.5, iteration)
    spent = time.perf_counter() - begun
    task.flush()
    ours.close()
    reader.join(20)
    if seen[0] != count:
        raise RuntimeError(f"{seen[0]} of {count} reports arrived")
    with tempfile.TemporaryDirectory(prefix="bench-") as name, redis_server(Path(name)) as url:
        client = redis.Redis.from_url(url)
        few = count // 10
        begun = time.perf_counter()
        for iteration in range(few):
            with client.pipeline() as pipe:
                pipe.xadd("series", {"i": iteration, "v": 0.5})
                pipe.hset("last", "loss", 0.5)
                pipe.execute()
        reference = (time.perf_counter() - begun) / few
    return spent / count * 1e6, reference * 1e6
