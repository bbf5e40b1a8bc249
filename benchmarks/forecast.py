"""Whether forecasts hold: over simulated studies and the real ones of ``benchmarks/studies``.

Each study is cut off when a quarter, half and three quarters of its trials have ended, and its end foreseen
from what was known then. The simulated ones come from a simulator of their own, which shares no code with the
forecast's: trials of any spread, that grow or shrink over the study, fail, are pruned, and end by trials,
iterations or compute time.
"""

from __future__ import annotations

import heapq
import math
import random
import statistics
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from benchmarks.rows import Row
from controller.insight.forecast_reading import situation_of
from controller.insight.forecast_run import outcomes
from controller.results.study_data import StudyData, TaskData
from controller.studies.study_file_data import read_study_file
from worker.protocol import (
    ObjectiveMetric,
    Reason,
    Sign,
    Status,
    StudyRecord,
    StudyState,
    TaskRecord,
    TaskSpec,
)

STUDIES = 200
FIRST_SEED = 1000
"""The seeds below were looked at while the estimate was made."""
REAL = Path(__file__).parent / "studies"
SHARES = (0.25, 0.5, 0.75)
"""Of a study's trials, after which its end is foreseen."""
METRIC = ObjectiveMetric(title="loss", series="validation", sign=Sign.MIN)


@dataclass(frozen=True)
class Check:
    """One forecast beside what came."""

    study: str
    share: float
    low: float
    median: float
    high: float
    truth: float
    """Seconds that were left."""

    @property
    def holds(self) -> bool:
        return self.low <= self.truth <= self.high

    @property
    def error(self) -> float:
        """Of the time left, relative to it."""
        return abs(self.median - self.truth) / self.truth


def rows(runs: int, quick: bool, say: Callable[[str], None]) -> list[Row]:
    del runs  # the same studies each time
    count = 20 if quick else STUDIES
    say(f"{count} simulated studies")
    simulated = [check for seed in range(count) for check in checks(simulated_study(FIRST_SEED + seed))]
    say("real studies")
    real = [check for path in sorted(REAL.glob("*.study.gz")) for check in checks(read_study_file(path))]
    made = []
    for name, found in ((f"{count} simulated studies", simulated), ("real studies", real)):
        held = sum(check.holds for check in found) / len(found)
        first = [check.error for check in found if check.share == SHARES[0]]
        for sense, aim in ((">=", 0.7), ("<=", 0.9)):
            text = f"forecast, {name}: share of ends within the 80 % interval"
            made.append(Row(name=text, ours=held, reference=1.0, sense=sense, aim=aim))
        text = f"forecast, {name}: median error of the time left after a quarter"
        made.append(Row(name=text, ours=statistics.median(first), reference=1.0, sense="<=", aim=0.2))
    return made


def checks(data: StudyData) -> Iterator[Check]:
    """The forecasts of a study that has ended."""
    records = [task.record for task in data.tasks]
    ends = sorted(record.ended_at for record in records if record.ended_at is not None)
    end = ends[-1]
    for share in SHARES:
        at = ends[int(share * len(ends))]
        if at >= end:
            continue  # its budget stopped the rest at once
        found = sorted(one.seconds for one in outcomes(situation_of(data, at)))
        if found:
            cuts = statistics.quantiles(found, n=10, method="exclusive")
            yield Check(data.study.name, share, cuts[0], cuts[4], cuts[8], end - at)


def simulated_study(seed: int) -> StudyData:
    """A study that has ended; another one for each seed."""
    draw = random.Random(seed)
    slots = round(math.exp(draw.uniform(0, math.log(32))))
    trials = max(4 * slots, round(math.exp(draw.uniform(math.log(40), math.log(400)))))
    kind = ("trials", "iterations", "compute")[seed % 3]
    most = draw.choice((10, 30, 100)) if kind == "iterations" else None
    spread = draw.uniform(0.1, 1.0)
    trend = draw.uniform(-0.5, 0.5) if seed % 2 else 0.0
    fails = draw.choice((0.0, 0.02, 0.15))
    limits = {
        "jobs": {"limit": trials if kind != "compute" else None},
        "iterations": {"limit": trials * most if most else None},
        "compute_time": {"limit": trials if kind == "compute" else None},
    }
    tasks: list[TaskRecord] = []
    free = [(0.0, number) for number in range(slots)]
    used = open_ = 0.0
    begun: list[tuple[float, float]] = []
    while free:
        now, slot = heapq.heappop(free)
        number = len(tasks)
        if kind == "trials" and number >= trials:
            continue
        if most:
            used, open_ = _charged(tasks, now, most)
            if used + open_ + most > trials * most:
                if open_:  # a trial that ends early makes room
                    later = min(task.ended_at or 0.0 for task in tasks if (task.ended_at or 0.0) > now)
                    heapq.heappush(free, (later, slot))
                continue
        seconds = 60.0 * math.exp(draw.gauss(0.0, spread) + trend * number / trials)
        task = _task(draw, number, now + draw.uniform(0.05, 0.5), seconds, most, trials, fails)
        if kind == "compute":
            begun.append((task.started_at or 0.0, task.ended_at or 0.0))
            end = _when_computed(begun, trials * 60.0)
            if end is not None and end <= (task.started_at or 0.0):
                break
        tasks.append(task)
        heapq.heappush(free, (task.ended_at or 0.0, slot))
    if kind == "compute":
        end = _when_computed(begun, trials * 60.0) or 0.0
        tasks = [_cut(task, end) for task in tasks if (task.started_at or 0.0) < end]
    study = StudyRecord(
        name=f"simulated-{seed}-{kind}", created_at=0.0, metrics=(METRIC,), budget=limits,
        state=StudyState.COMPLETED,
    )  # fmt: skip
    return StudyData(study=study, tasks=tuple(TaskData(record=task) for task in tasks), at=1e9)


def _task(
    draw: random.Random,
    number: int,
    start: float,
    seconds: float,
    most: int | None,
    trials: int,
    fails: float,
) -> TaskRecord:
    status, reason, iterations = Status.COMPLETED, None, most or 0
    if draw.random() < fails:
        status, reason, share = Status.FAILED, Reason.OBJECTIVE_ERROR, draw.uniform(0.02, 0.6)
    elif most and number > 5 and draw.random() < 0.3 + 0.4 * number / trials:
        # Pruned, more and more of them as the study goes on.
        status, reason, share = Status.STOPPED, Reason.PRUNED, draw.uniform(0.1, 0.7)
    else:
        share = 1.0
    if most:
        iterations = max(1, round(most * share))
        share = iterations / most
    return TaskRecord(
        id=f"{number:032x}", name="", trial=number, created_at=start, queued_at=start, started_at=start,
        ended_at=start + seconds * share, compute_s=seconds * share, status=status, reason_class=reason,
        iterations=iterations, last_iteration=iterations - 1,
        spec=TaskSpec(metrics=(METRIC,), max_iterations=most),
    )  # fmt: skip


def _charged(tasks: list[TaskRecord], now: float, most: int) -> tuple[float, float]:
    """Iterations that ended trials were charged, and that running ones may take."""
    ended = [task for task in tasks if (task.ended_at or 0.0) <= now]
    used = 0.0
    for task in ended:
        fewest = 1 if task.status is Status.STOPPED else 2
        used += task.iterations if task.iterations >= fewest else most
    return used, most * (len(tasks) - len(ended))


def _when_computed(spans: list[tuple[float, float]], limit: float) -> float | None:
    """When trials have run for so many seconds together; None if they never do."""
    changes = sorted([(start, 1) for start, _ in spans] + [(end, -1) for _, end in spans])
    total, running, before = 0.0, 0, 0.0
    for at, change in changes:
        if total + running * (at - before) >= limit:
            return before + (limit - total) / running
        total += running * (at - before)
        running, before = running + change, at
    return None


def _cut(task: TaskRecord, end: float) -> TaskRecord:
    from dataclasses import replace

    if (task.ended_at or 0.0) <= end:
        return task
    return replace(
        task, ended_at=end, compute_s=end - (task.started_at or 0.0), status=Status.STOPPED,
        reason_class=Reason.COMPUTE_BUDGET,
    )  # fmt: skip
