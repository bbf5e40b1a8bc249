"""Many virtual workers against the real controller: ``python -m benchmarks.simulate --workers 1000``.

A player is a process that acts for many slots: it takes jobs off the queue, writes starts, leases, reports
and ends as slots do, through the same code, to a real Redis, on the same beat; only the programs are missing.
The controller is the real one. Trials take real time. Slots come one after the other within the time of a
trial, as if they had been at it for long; with ``--at-once`` all begin together, so that trials end in waves.
"""

from __future__ import annotations

import argparse
import heapq
import itertools
import json
import os
import random
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import psutil
import redis

from benchmarks.studies import BIN, redis_server
from worker.protocol import Batch, Point, Status, Store, Summary, TaskRecord
from worker.protocol.connection import connect
from worker.protocol.host import REGISTRATION_LIFE_S, REGISTRATION_PERIOD_S
from worker.protocol.transport import TaskJob, TaskQueue
from worker.slot.slot import HEARTBEAT_S

RESULTS = Path(__file__).with_name("simulation.json")
SWEEP = """
[study]
name = "simulated"
metric = {{ name = "loss", goal = "minimize" }}
[objective]
function = "objective:train"
[parameters]
x = {{ type = "float", low = -1.0, high = 1.0 }}
y = {{ type = "float", low = 1e-5, high = 1.0, log = true }}
[sampler]
type = "{sampler}"
[budget]
max_trials = 10000000
"""
NODE_SLOTS = 8
"""Slots of one worker, each with a registration."""


class Player:
    """Acts for a number of slots until it is told to stop. One thread: what is due is done in order."""

    def __init__(self, url: str, slots: range, trial_s: float, reports: int, coming_s: float) -> None:
        self._store = Store(connect(url, patience_s=5))
        self._connection = connect(url, patience_s=5, text=False)
        self._queue = TaskQueue("default", connection=self._connection)
        self._trial_s, self._reports = trial_s, reports
        self._slots = [f"node{number // NODE_SLOTS}/{number % NODE_SLOTS}" for number in slots]
        self._coming_s = coming_s
        self._nodes = sorted({name.split("/")[0] for name in self._slots})
        self._idle: list[str] = []
        self._due: list[tuple[float, int, str, Any]] = []
        self._order = itertools.count()
        self._chance = random.Random(slots.start)
        self.ended = 0
        self.late_s: list[float] = []
        """How late things were done, in seconds: a player that can't keep up measures itself."""

    def _at(self, when: float, what: str, about: Any) -> None:
        heapq.heappush(self._due, (when, next(self._order), what, about))

    def run(self, seconds: float) -> None:
        end = time.time() + seconds
        for name in self._nodes:
            self._at(time.time(), "register", name)
        for number, name in enumerate(self._slots):
            self._at(time.time() + self._coming_s * number / len(self._slots), "come", name)
        while (now := time.time()) < end:
            while self._due and self._due[0][0] <= now:
                when, _, what, about = heapq.heappop(self._due)
                self.late_s.append(now - when)
                getattr(self, f"_{what}")(about)
                now = time.time()
            left = min(0.5, max(0.002, self._due[0][0] - now)) if self._due else 0.5
            if self._idle:
                # A slot of its own would wait for the queue; this one has others to act for.
                blob = self._connection.lmove(self._queue.key, self._queue.intermediate_queue_key)
                if blob is not None:
                    self._begin(blob.decode())
                    continue
                left = min(left, 0.01)
            time.sleep(left)

    def _come(self, slot: str) -> None:
        self._idle.append(slot)
        self._at(time.time() + self._chance.uniform(0, HEARTBEAT_S), "beat", slot)

    def _register(self, name: str) -> None:
        registration = {
            "host": name, "pid": os.getpid(), "place": name, "queues": "default", "slots": NODE_SLOTS,
            "version": "simulated", "folder": "/", "state": "running", "seen": repr(time.time()),
        }  # fmt: skip
        self._store.workers.register(name, registration, REGISTRATION_LIFE_S)
        self._store.workers.paused_until(name)
        self._at(time.time() + REGISTRATION_PERIOD_S, "register", name)

    def _beat(self, slot: str) -> None:
        with self._connection.pipeline() as pipe:
            pipe.hset(f"rq:worker:simulated.{slot}", "last_heartbeat", "now")
            pipe.expire(f"rq:worker:simulated.{slot}", 480)
            pipe.execute()
        self._at(time.time() + HEARTBEAT_S, "beat", slot)

    def _begin(self, job_id: str) -> None:
        job = TaskJob.fetch(job_id, connection=self._connection, serializer=self._queue.serializer)
        self._queue.discard(job)
        task_id, attempt, _ = job.verify()
        slot = self._idle.pop()
        record = self._store.transitions.start(task_id, attempt, slot, register=True)
        now = time.time()
        length = self._trial_s * self._chance.uniform(0.9, 1.1)
        running = {"record": record, "slot": slot, "begun": now, "until": now + length, "seq": 0}
        running["summary"] = Summary.of("loss", "")
        self._at(now + record.spec.lease_s / 3, "renew", running)
        for number in range(self._reports - 1):
            self._at(now + length * (number + 1) / self._reports, "report", running)
        self._at(now + length, "end", running)

    def _renew(self, running: dict[str, Any]) -> None:
        record: TaskRecord = running["record"]
        if running["until"]:
            self._store.transitions.renew(record.id, record.attempt, record.worker, record.spec.lease_s)
            self._at(time.time() + record.spec.lease_s / 3, "renew", running)

    def _batch(self, running: dict[str, Any]) -> Batch:
        running["seq"] += 1
        point = Point(
            title="loss", series="", value=self._chance.random(), iteration=running["seq"], at=time.time()
        )
        running["summary"] = running["summary"].add(point.value, point.iteration)
        return Batch(seq=running["seq"], points=[point], summaries={"loss": running["summary"]})

    def _report(self, running: dict[str, Any]) -> None:
        self._store.reports.add(running["record"], self._batch(running))

    def _end(self, running: dict[str, Any]) -> None:
        record: TaskRecord = running["record"]
        self._store.transitions.finish(
            record.id,
            record.attempt,
            Status.COMPLETED,
            worker=record.worker,
            compute_s=time.time() - running["begun"],
            last=self._batch(running),
            register=True,
        )
        running["until"] = 0.0
        self._idle.append(running["slot"])
        self.ended += 1


def measure(workers: int, options: argparse.Namespace) -> dict[str, Any]:
    """Play so many slots for a while; the figures of its second part, when all of them have begun."""
    with tempfile.TemporaryDirectory(prefix="bench-") as name, redis_server(Path(name)) as url:
        folder = Path(name)
        (folder / "objective.py").write_text("def train(task, x, y): return x\n")
        (folder / "sweep.toml").write_text(SWEEP.format(sampler=options.sampler))
        environment = {**os.environ, "REDIS_URL": url, "OPTUNA_STORAGE": f"sqlite:///{folder}/optuna.db"}
        share = -(-workers // options.players)
        share += -share % NODE_SLOTS
        seconds = options.warm_up + options.seconds + 5
        play = [sys.executable, "-m", "benchmarks.simulate", "--play", url]
        coming_s = 0.0 if options.at_once else options.trial_s
        how = [str(seconds), str(options.trial_s), str(options.reports), str(coming_s)]
        players = [
            subprocess.Popen(
                [*play, str(start), str(min(start + share, workers)), *how], stdout=subprocess.PIPE, text=True
            )
            for start in range(0, workers, share)
        ]
        time.sleep(1.0)
        controller = subprocess.Popen(
            [str(BIN / "controller"), "start", "sweep.toml", "--workers", "0", "--format", "json"],
            cwd=folder,
            env=environment,
            stdout=subprocess.DEVNULL,
        )
        try:
            client = redis.Redis.from_url(url, decode_responses=True)
            store = Store(client)
            time.sleep(options.warm_up)
            first = _look(client, controller.pid)
            busy = []
            while time.monotonic() < first["at"] + options.seconds:
                time.sleep(0.5)
                busy.append(len(store.studies.tasks("simulated", Status.IN_PROGRESS)) / workers)
            last = _look(client, controller.pid)
        finally:
            # At once: what it would take off the queue in the end, the players are about to take.
            controller.kill()
            controller.wait()
            played = [json.loads(player.communicate(timeout=seconds + 60)[0]) for player in players]
    spent = last["at"] - first["at"]
    trials = last["ended"] - first["ended"]
    return {
        "cores": os.cpu_count(),
        "slots": workers,
        "trial_s": options.trial_s,
        "at_once": options.at_once,
        "seconds": options.seconds,
        "busy": statistics.mean(busy),
        "trials_per_hour": trials / spent * 3600,
        "controller_cpu": (last["controller"] - first["controller"]) / spent,
        "redis_cpu": (last["redis"] - first["redis"]) / spent,
        "redis_commands_per_s": (last["commands"] - first["commands"]) / spent,
        "redis_mb": last["memory"] / 2**20,
        "players_late_p95_s": max(one["late_p95_s"] for one in played),
    }


def _look(client: Any, pid: int) -> dict[str, float]:
    info, used = client.info(), psutil.Process(pid).cpu_times()
    return {
        "at": time.monotonic(),
        "ended": float(len(Store(client).studies.tasks("simulated", Status.COMPLETED))),
        "controller": used.user + used.system,
        "redis": info["used_cpu_sys"] + info["used_cpu_user"],
        "commands": info["total_commands_processed"],
        "memory": info["used_memory"],
    }


def play(url: str, start: int, end: int, seconds: float, *how: Any) -> None:
    player = Player(url, range(start, end), *how)
    player.run(seconds)
    cuts = statistics.quantiles(player.late_s, n=20)
    print(json.dumps({"ended": player.ended, "late_p95_s": cuts[18]}))


def keep(path: Path, row: dict[str, Any]) -> None:
    """Write a row to the file of all, in place of the one of as many slots and such trials."""

    def kind(of: dict[str, Any]) -> tuple[Any, ...]:
        return of["trial_s"], of["at_once"], of["slots"]

    rows = json.loads(path.read_text())["rows"] if path.exists() else []
    rows = [*(other for other in rows if kind(other) != kind(row)), row]
    path.write_text(json.dumps({"rows": sorted(rows, key=kind)}, indent=1) + "\n")


def markdown(path: Path = RESULTS) -> list[str]:
    """The rows of a file as a table."""
    lines = [
        "| slots | s per trial | slots kept busy | trials per hour | controller, of a core "
        "| Redis, of a core | commands/s | Redis' memory |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for row in json.loads(path.read_text())["rows"]:
        cells = (
            f"{row['slots']:,}" + (", at once" if row["at_once"] else ""),
            f"{row['trial_s']:g}",
            f"{row['busy']:.2%}",
            f"{row['trials_per_hour']:,.0f}",
            f"{row['controller_cpu']:.0%}",
            f"{row['redis_cpu']:.0%}",
            f"{row['redis_commands_per_s']:,.0f}",
            f"{row['redis_mb']:.0f} MiB",
        )
        lines.append(f"| {' | '.join(cells)} |")
    return lines


def main() -> int:
    if sys.argv[1:2] == ["--play"]:
        url, start, end, seconds, trial_s, reports, coming_s = sys.argv[2:]
        play(url, int(start), int(end), float(seconds), float(trial_s), int(reports), float(coming_s))
        return 0
    parser = argparse.ArgumentParser(prog="python -m benchmarks.simulate", description=__doc__)
    parser.add_argument(
        "--workers", type=int, nargs="+", default=[1000], help="virtual slots; several to compare"
    )
    parser.add_argument("--trial-s", type=float, default=60.0, help="seconds of a trial, ±10 %%")
    parser.add_argument("--reports", type=int, default=6, help="of each trial")
    parser.add_argument("--seconds", type=float, default=120.0, help="that are measured")
    parser.add_argument("--warm-up", type=float, default=90.0, help="seconds before that")
    parser.add_argument("--players", type=int, default=1, help="processes that play them")
    parser.add_argument("--at-once", action="store_true", help="all slots come at the beginning")
    parser.add_argument("--sampler", default="random")
    parser.add_argument("--output", type=Path, default=RESULTS, help="its rows of other numbers are kept")
    parser.add_argument("--markdown", action="store_true", help="measure nothing: print what is in --output")
    options = parser.parse_args()
    if options.markdown:
        print("\n".join(markdown(options.output)))
        return 0
    for workers in options.workers:
        print(f"{workers} slots, {socket.gethostname()} …", file=sys.stderr, flush=True)
        row = measure(workers, options)
        print(json.dumps(row), flush=True)
        keep(options.output, row)
    return 0


if __name__ == "__main__":
    sys.exit(main())
