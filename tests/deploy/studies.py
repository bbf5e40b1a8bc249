"""A study for tests of what runs workers: its trials take their time, save checkpoints, and say where they begin."""

from __future__ import annotations

import re
from pathlib import Path

from tests.e2e.harness import wait_for
from worker.protocol import Status, Store, TaskRecord
from worker.protocol.connection import connect

OBJECTIVE = '''
import os, tempfile, time

def train(task, x, epochs, pause):
    """`epochs` epochs, with `pause` seconds after each in the first attempt."""
    found = task.last_checkpoint()
    begin = found.iteration + 1 if found else 0
    print(f"attempt {task.attempt} begins at {begin} as {os.getuid()} in {tempfile.gettempdir()}", flush=True)
    for epoch in range(begin, epochs):
        task.report_scalar("loss", "", x + 1 / (epoch + 1), epoch)
        task.save_checkpoint({"epoch": epoch}, iteration=epoch)
        time.sleep(pause if task.attempt == 1 else 0)
'''

_SWEEP = """
[study]
name = "s"
metric = {{ name = "loss", goal = "minimize" }}
[objective]
function = "objective:train"
[parameters]
x = {{ type = "float", low = 0.0, high = 1.0 }}
epochs = {{ choices = [{epochs}] }}
pause = {{ choices = [{pause}] }}
[sampler]
type = "{sampler}"
seed = 1
[budget]
max_trials = {trials}
max_concurrent = {concurrent}
max_failures = 1
"""


def write_sweep(
    path: Path, *, trials: int, epochs: int, pause_s: float, concurrent: int = 2, sampler: str = "random"
) -> None:
    """A sweep file of study ``s``. Its trials compute for about `epochs` × `pause_s` seconds each."""
    text = _SWEEP.format(trials=trials, epochs=epochs, pause=pause_s, concurrent=concurrent, sampler=sampler)
    path.write_text(text)


class Watch:
    """What Redis knows of study ``s``."""

    def __init__(self, redis_url: str) -> None:
        self.store = Store(connect(redis_url, patience_s=30))

    def tasks(self) -> list[TaskRecord]:
        """In the order of their trials."""
        found = [task for task in self.store.tasks.get_many(self.store.studies.tasks("s")) if task]
        return sorted(found, key=lambda task: task.trial)

    def running(self, iterations: int = 1, worker: str = "") -> TaskRecord:
        """A task once it runs, on a worker whose name begins so, and has saved so many checkpoints."""

        def look() -> TaskRecord | None:
            for task in self.tasks():
                if (
                    task.status is Status.IN_PROGRESS
                    and task.worker.startswith(worker)
                    and len(self.store.reports.checkpoints(task.id)) >= min(iterations, 2)
                    and task.iterations >= iterations
                ):
                    return task
            return None

        return wait_for(look, f"a running task on {worker or 'any worker'}")

    def completed(self, trials: int, deadline_s: float = 60.0) -> list[TaskRecord]:
        """All tasks, once so many have been completed; no other end is allowed."""

        def look() -> list[TaskRecord]:
            tasks = self.tasks()
            bad = [task for task in tasks if task.status in (Status.FAILED, Status.STOPPED)]
            assert not bad, bad
            return tasks if sum(task.status is Status.COMPLETED for task in tasks) == trials else []

        return wait_for(look, f"{trials} completed trials", deadline_s)

    def begins(self, task: TaskRecord) -> list[tuple[int, int]]:
        """Each attempt that has begun, and its first epoch."""
        log = self.store.logs.read(task.id)[0]
        return [(int(n), int(epoch)) for n, epoch in re.findall(r"attempt (\d+) begins at (\d+)", log)]

    def handed_back(self, task: TaskRecord) -> TaskRecord:
        """The task's record once it has been handed back, for one attempt more and nothing else."""

        def look() -> TaskRecord | None:
            now = self.store.tasks.get(task.id)
            assert now.status not in (Status.FAILED, Status.STOPPED), now
            return now if now.attempt > task.attempt else None

        found = wait_for(look, f"the hand-back of {task.id}")
        assert (found.attempt, found.handed_back) == (task.attempt + 1, task.handed_back + 1), found
        return found
