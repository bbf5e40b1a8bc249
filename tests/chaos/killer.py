"""A study under fire: real processes are killed at random moments, then what must hold is checked from outside.

Everything is decided by a seed but for the machine's own timing.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import signal
import subprocess
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import optuna
import psutil
import yaml
from optuna.trial import TrialState

from tests.e2e.harness import BIN, environment, living_in
from tests.redisserver import RedisServer
from worker.protocol import FINISHED, Status, Store
from worker.protocol.connection import connect

OBJECTIVE = """
import json, os, time
from pathlib import Path

def say(**what):
    with open("stamps.jsonl", "a") as file:
        file.write(json.dumps({**what, "at": time.time(), "pid": os.getpid()}) + "\\n")

def train(task, x, y):
    say(what="begin", trial=task.trial_number, attempt=task.attempt)
    found = task.last_checkpoint()
    for epoch in range(found.iteration + 1 if found else 0, 6):
        task.report_scalar("loss", "", x * x + y + 6 - epoch, epoch)
        if epoch % 2:
            task.save_checkpoint({"epoch": epoch}, iteration=epoch)
        time.sleep(0.15)
    task.upload_artifact("result", {"x": x})
    say(what="end", trial=task.trial_number, attempt=task.attempt)
    return x * x + y
"""

VICTIMS = ("controller", "worker", "slot", "program", "redis")
SEVERAL = 0.25
"""How often several are killed at the same moment."""
WORKERS, SLOTS = 2, 2
LEASE_S = 2.0
ITERATIONS = 6


@dataclass
class Report:
    """What has happened."""

    seed: int
    trials: int
    kills: Counter[str] = field(default_factory=Counter)
    at_once: int = 0
    """Moments at which several were killed."""
    attempts: int = 0
    seconds: float = 0.0
    problems: list[str] = field(default_factory=list)


class Chaos:
    """One study in a folder of its own.

    Args:
        seed: of the choice of victims and moments.
        trials: of the study.
        kills: at least so many, as long as the study runs.
    """

    def __init__(self, folder: Path, seed: int, trials: int, kills: int) -> None:
        self.folder = folder
        self.report = Report(seed=seed, trials=trials)
        self._random = random.Random(seed)
        self._kills = kills
        self._redis = RedisServer(appendonly=True)
        self._controller: subprocess.Popen[bytes] | None = None
        self._workers: list[subprocess.Popen[bytes] | None] = [None] * WORKERS
        (folder / "obj.py").write_text(OBJECTIVE)
        (folder / "tmp").mkdir()
        sweep = {
            "study": {"name": "chaos", "metric": {"name": "loss", "goal": "minimize"}},
            "objective": {"function": "obj:train"},
            "parameters": {name: {"type": "float", "low": 0.0, "high": 1.0} for name in "xy"},
            "sampler": {"type": "random", "seed": seed},
            "budget": {
                "max_trials": trials,
                "max_iterations": ITERATIONS,
                "max_concurrent": WORKERS * SLOTS,
                "max_attempts": 1000,
                "lease": LEASE_S,
                # A program that is killed from outside has failed as any other.
                "retry_on": ["objective_error"],
            },
        }
        (folder / "sweep.yaml").write_text(yaml.safe_dump(sweep, sort_keys=False))

    # Running

    def run(self, deadline_s: float) -> Report:
        """The whole of it: run under fire, let it end in peace, check."""
        begun = time.monotonic()
        with self._redis:
            try:
                code = self._fire(begun + deadline_s)
                self._settle()
                if code is None:
                    self.report.problems.append(f"the study did not end within {deadline_s:g} s")
                elif code != 0:
                    self.report.problems.append(f"the controller ended with {code}: {self._last_words()}")
                self._check()
            finally:
                self._end_everything()
        self.report.seconds = time.monotonic() - begun
        return self.report

    def _fire(self, deadline: float) -> int | None:
        next_kill = float("inf")
        while time.monotonic() < deadline:
            self._keep_alive()
            assert self._controller is not None
            code = self._controller.poll()
            if code is not None and code >= 0 and not self._was_refused(code):
                return code
            now = time.monotonic()
            if next_kill == float("inf") and (self.folder / "stamps.jsonl").exists():
                next_kill = now  # the first trial has begun
            if now >= next_kill and sum(self.report.kills.values()) < self._kills:
                self._kill_something()
                next_kill = now + self._random.uniform(0.1, 1.5)
            time.sleep(0.02)
        return None

    def _keep_alive(self) -> None:
        """Start again whatever was killed, as a supervisor would."""
        code = self._controller.poll() if self._controller else -1
        if code is not None and (code < 0 or self._was_refused(code)):
            self._controller = self._start(
                "controller", "start", "sweep.yaml", "--workers", "0", log="controller.log"
            )
        for number, process in enumerate(self._workers):
            if process is None or process.poll() is not None:
                self._workers[number] = self._start(
                    "worker", "--slots", str(SLOTS), log=f"worker-{number}.log"
                )

    def _start(self, *argv: str, log: str) -> subprocess.Popen[bytes]:
        with open(self.folder / log, "ab") as output:
            return subprocess.Popen(
                [str(BIN / argv[0]), *argv[1:]],
                cwd=self.folder,
                env=environment(
                    REDIS_URL=self._redis.url(),
                    OPTUNA_STORAGE=f"sqlite:///{self.folder}/optuna.db",
                    ARTIFACT_STORE=f"file://{self.folder}/artifacts",
                    TMPDIR=str(self.folder / "tmp"),
                ),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def _was_refused(self, code: int) -> bool:
        """Whether it was started at a moment when there was no Redis: a supervisor tries again."""
        return code in (1, 2) and "Redis" in self._last_words().strip().rpartition("\n")[2]

    def _kill_something(self) -> None:
        """A process or the Redis server; now and then several at the same moment."""
        several = self._random.random() < SEVERAL
        victims = self._random.sample(VICTIMS, self._random.choice((2, 3)) if several else 1)
        pids = {victim: self._pids(victim) for victim in victims if victim != "redis"}
        chosen = {victim: self._random.choice(found) for victim, found in pids.items() if found}
        if "redis" in victims:
            self._redis.kill()
        for pid in chosen.values():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        killed = [victim for victim in victims if victim == "redis" or victim in chosen]
        self.report.kills.update(killed)
        self.report.at_once += len(killed) > 1
        if "redis" in victims:
            time.sleep(self._random.uniform(0.05, 1.0))
            self._redis.start()

    def _pids(self, victim: str) -> list[int]:
        if victim == "controller":
            return [self._controller.pid] if self._controller and self._controller.poll() is None else []
        level = [process.pid for process in self._workers if process and process.poll() is None]
        for _ in range(("worker", "slot", "program").index(victim)):
            level = [child for pid in level for child in _children(pid)]
        return sorted(level)

    def _settle(self) -> None:
        """The workers end in order, as at the end of a day."""
        for process in self._workers:
            if process and process.poll() is None:
                process.terminate()
        for process in self._workers:
            with contextlib.suppress(subprocess.TimeoutExpired):
                if process:
                    process.wait(30)

    def _end_everything(self) -> None:
        for process in (self._controller, *self._workers):
            if process and process.poll() is None:
                process.kill()
                process.wait()
        for line in living_in(self.folder):
            with contextlib.suppress(ProcessLookupError, ValueError):
                os.kill(int(line.split(":")[0]), signal.SIGKILL)

    def _last_words(self) -> str:
        return (self.folder / "controller.log").read_text(errors="replace")[-600:]

    # What must hold

    def _check(self) -> None:
        store = Store(connect(self._redis.url(), patience_s=5))
        for check in (self._check_records, self._check_trials, self._check_stamps):
            check(store)
        self._check_node()

    def _problem(self, text: str) -> None:
        self.report.problems.append(text)

    def _check_records(self, store: Store) -> None:
        """Every trial has one task, all have completed, and the budget is exact."""
        records = [record for record in store.tasks.get_many(store.studies.tasks("chaos")) if record]
        self.report.attempts = sum(record.attempt for record in records)
        if sorted(record.trial for record in records) != list(range(self.report.trials)):
            self._problem(f"tasks of trials {sorted(record.trial for record in records)}")
        for record in records:
            if record.status is not Status.COMPLETED:
                self._problem(
                    f"trial {record.trial} is {record.status}: {record.reason_class} {record.reason}"
                )
            if record.iterations != ITERATIONS:
                self._problem(f"trial {record.trial} has {record.iterations} iterations")
            summary = store.reports.scalars([record.id])[0].get("loss")
            if summary is None or summary.iterations != ITERATIONS:
                self._problem(f"trial {record.trial}: scalars {summary}")
            if "result" not in store.artifacts.of_task(record.id):
                self._problem(f"trial {record.trial} has no artifact")
        budget = store.studies.get("chaos").budget
        for name, wanted in (("jobs", self.report.trials), ("iterations", self.report.trials * ITERATIONS)):
            used = (budget.get(name) or {}).get("used")
            if used != wanted:
                self._problem(f"budget: {used} {name} used, not {wanted}")
        for status in Status:
            if status not in FINISHED and store.studies.tasks("chaos", status):
                self._problem(f"the index of {status} is not empty")

    def _check_trials(self, store: Store) -> None:
        """Optuna was told each trial once, with what its task has come to."""
        storage = optuna.storages.RDBStorage(f"sqlite:///{self.folder}/optuna.db")
        trials = optuna.load_study(study_name="chaos", storage=storage).trials
        if [trial.number for trial in trials if trial.state is TrialState.COMPLETE] != list(
            range(self.report.trials)
        ):
            self._problem(f"trials: {Counter(trial.state.name for trial in trials)}")
        for trial in trials:
            value = trial.params["x"] ** 2 + trial.params["y"]
            if trial.state is TrialState.COMPLETE and abs((trial.value or 0.0) - value) > 1e-12:
                self._problem(f"trial {trial.number} was told {trial.value}, not {value}")
            if sorted(trial.intermediate_values) != list(range(ITERATIONS)):
                self._problem(f"trial {trial.number}: told iterations {sorted(trial.intermediate_values)}")

    def _check_stamps(self, store: Store) -> None:
        """What the programs themselves saw: nothing ran again after its end was recorded, nor too much at once."""
        stamps: list[dict[str, Any]] = []
        for line in (self.folder / "stamps.jsonl").read_text().splitlines():
            with contextlib.suppress(ValueError):  # cut short by a kill
                stamps.append(json.loads(line))
        records = {
            record.trial: record for record in store.tasks.get_many(store.studies.tasks("chaos")) if record
        }
        for stamp in stamps:
            record = records.get(stamp["trial"])
            if record is None or record.ended_at is None:
                continue
            if stamp["what"] == "begin" and stamp["at"] > record.ended_at:
                self._problem(f"trial {stamp['trial']} began again after its end was recorded")
        begun = {(s["trial"], s["attempt"]): s["at"] for s in stamps if s["what"] == "begin"}
        whole = [
            (begun[s["trial"], s["attempt"]], s["at"])
            for s in stamps
            if s["what"] == "end" and (s["trial"], s["attempt"]) in begun
        ]
        for at, _ in whole:
            at_once = sum(first <= at < last for first, last in whole)
            if at_once > WORKERS * SLOTS:
                self._problem(f"{at_once} trials at once")
                break

    def _check_node(self) -> None:
        """No process and no temporary file is left."""
        deadline = time.monotonic() + 20
        while (left := living_in(self.folder)) and time.monotonic() < deadline:
            time.sleep(0.1)
        if left:
            self._problem(f"processes left: {left}")
        files = [str(path.relative_to(self.folder)) for path in (self.folder / "tmp").iterdir()]
        if files:
            self._problem(f"temporary files left: {files}")
        partial = [path.name for path in (self.folder / "artifacts").rglob(".part-*")]
        if len(partial) > sum(self.report.kills.values()):
            self._problem(f"{len(partial)} unfinished artifacts")


def _children(pid: int) -> list[int]:
    try:
        return [child.pid for child in psutil.Process(pid).children()]
    except psutil.NoSuchProcess:
        return []
