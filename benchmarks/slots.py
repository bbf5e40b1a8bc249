"""What a no-op trial costs the controller: its processor time with few and with many slots, all of them free.

Slots are virtual (`benchmarks.simulate.Player`): they take, start and end tasks through a slot's own code,
and run nothing in between. So the figure doesn't depend on how many cores there are for programs.
"""

from __future__ import annotations

import contextlib
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import redis

from benchmarks.rows import Row
from benchmarks.simulate import Player
from benchmarks.studies import BIN, redis_server, sweep
from worker.protocol import Batch, Point, Status, Summary, keys
from worker.protocol.record import TaskRecord
from worker.protocol.transport import TaskJob

MOST_MS = 0.8
"""Processor time of the controller that a no-op trial may take, in milliseconds."""
PLAYERS = 2
"""Processes that act for the slots."""


class Rounds(Player):
    """Has each of its slots take a task, then has all of them end theirs, and so on."""

    def run(self, seconds: float) -> None:
        end = time.time() + seconds
        for node in self._nodes:
            self._register(node)
        while time.time() < end:
            running: list[TaskRecord] = []
            for slot in self._slots:
                record = self._take(slot, wait=not running)
                if record is None:
                    break
                running.append(record)
            for record in running:
                self._finish(record)

    def _take(self, slot: str, *, wait: bool) -> TaskRecord | None:
        places = (self._queue.key, self._queue.intermediate_queue_key)
        found = self._connection.blmove(*places, 1) if wait else self._connection.lmove(*places)
        if found is None:
            return None
        job = TaskJob.fetch(found.decode(), connection=self._connection, serializer=self._queue.serializer)
        self._queue.discard(job)
        task_id, attempt, _ = job.verify()
        return self._store.transitions.start(task_id, attempt, slot, register=True)

    def _finish(self, record: TaskRecord) -> None:
        point = Point(title="loss", series="", value=self._chance.random(), iteration=0, at=time.time())
        summary = Summary.of("loss", "").add(point.value, 0)
        self._store.transitions.finish(
            record.id,
            record.attempt,
            Status.COMPLETED,
            worker=record.worker,
            compute_s=0.001,
            last=Batch(seq=1, points=[point], summaries={"loss": summary}),
            register=True,
        )


def rows(runs: int, quick: bool, say: Callable[[str], None]) -> list[Row]:
    trials = 400 if quick else 4000
    found: dict[int, list[float]] = {2: [], 16: []}
    for number in range(runs):
        for slots, costs in found.items():
            say(f"run {number + 1} of {runs}: no-op trials on {slots} virtual slots")
            costs.append(cost_ms(slots, trials))
    made = []
    for slots, costs in found.items():
        took = statistics.median(costs)
        made += [
            Row(
                name=f"controller's CPU per no-op trial, {slots} slots, ms (reference: {MOST_MS:g} ms)",
                ours=took,
                reference=MOST_MS,
                sense="<=",
                aim=1.0,
            ),
            Row(
                name=f"no-op trials/s that follow, {slots} slots (reference: those of {MOST_MS:g} ms)",
                ours=1000 / took,
                reference=1000 / MOST_MS,
                sense=">=",
                aim=1.0,
            ),
        ]
    return made


def cost_ms(slots: int, trials: int) -> float:
    """Processor time of a controller per no-op trial, in milliseconds, without its start and its end."""
    with tempfile.TemporaryDirectory(prefix="bench-") as name, redis_server(Path(name)) as url:
        folder = Path(name)
        (folder / "objective.py").write_text("def train(task, x): return x\n")
        (folder / "sweep.toml").write_text(sweep(trials, "seed = 1"))
        storage = f"sqlite:///{folder}/optuna.db"
        share = -(-slots // PLAYERS)
        with contextlib.ExitStack() as started:
            for first in range(0, slots, share):
                last = min(first + share, slots)
                _start(started, [sys.executable, "-m", "benchmarks.slots", url, str(first), str(last)])
            command = [str(BIN / "controller"), "start", "sweep.toml", "--workers", "0", "--format", "json"]
            controller = _start(started, command, folder, REDIS_URL=url, OPTUNA_STORAGE=storage)
            return _watch(controller, url, trials)


def _start(
    stack: contextlib.ExitStack, command: list[str], folder: Path | None = None, **environment: str
) -> subprocess.Popen[bytes]:
    process = subprocess.Popen(
        command, cwd=folder, env={**os.environ, **environment}, stdout=subprocess.DEVNULL
    )
    stack.callback(process.wait)
    stack.callback(process.kill)
    return process


def _watch(controller: subprocess.Popen[bytes], url: str, trials: int) -> float:
    client, process = redis.Redis.from_url(url), psutil.Process(controller.pid)
    readings: list[tuple[int, float]] = []
    while controller.poll() is None:
        with contextlib.suppress(psutil.Error):
            used = process.cpu_times()
            ended = int(client.zcard(keys.study_status("benchmark", Status.COMPLETED)))
            if trials * 0.1 <= ended <= trials * 0.95:
                readings.append((ended, used.user + used.system))
        time.sleep(0.05)
    if controller.returncode or len(readings) < 2:
        raise RuntimeError(f"the controller ended with code {controller.returncode}")
    (first, before), (last, after) = readings[0], readings[-1]
    return (after - before) / (last - first) * 1000


if __name__ == "__main__":
    Rounds(sys.argv[1], range(int(sys.argv[2]), int(sys.argv[3])), 0.0, 1, 0.0).run(3600)
