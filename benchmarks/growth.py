"""What a trial costs after ten thousand others: the controller's time, and Redis' commands and memory."""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
from collections.abc import Callable

import optuna

from benchmarks.noop import OBJECTIVE
from benchmarks.rows import Row
from benchmarks.studies import STAMP, between, study, sweep
from controller.search.trial_cache import TrialCache, cached
from worker.optuna_internals import storage_of
from worker.trials.storage import open_storage

SPACE = {f"x{number}": optuna.distributions.FloatDistribution(-1.0, 1.0) for number in range(4)}
TPE = """
[study]
name = "tpe"
start_from = "old"
metric = {{ name = "loss", goal = "minimize" }}
[objective]
function = "objective:train"
[parameters]
{parameters}
[sampler]
type = "tpe"
{history}
[budget]
max_trials = {trials}
max_concurrent = 1
"""
TPE_OBJECTIVE = (
    STAMP
    + """
def train(task, **x):
    start = time.time()
    value = sum(one * one for one in x.values())
    stamp(start)
    return value
"""
)
REPORTING = (
    STAMP
    + """
def train(task, x):
    start = time.time()
    for step in range(REPORTS):
        task.report_scalar("loss", "", x, step)
        time.sleep(0.005)
    stamp(start)
"""
)


def rows(runs: int, quick: bool, say: Callable[[str], None]) -> list[Row]:
    return [*_random(runs, quick, say), *_reports(runs, quick, say), *_tpe(runs, quick, say)]


def _random(runs: int, quick: bool, say: Callable[[str], None]) -> list[Row]:
    early, late, width = (50, 300, 100) if quick else (100, 10_000, 500)
    names = ("controller_s", "commands", "sent_bytes", "memory_bytes")
    found: dict[tuple[str, bool], list[float]] = {}
    for number in range(runs):
        say(f"run {number + 1} of {runs}: a study of {late + width} trials")
        files = {"objective.py": OBJECTIVE, "sweep.toml": sweep(late + width + 20, "seed = 1")}
        with study(files, read_every_s=0.1) as run:
            for name in names:
                for begin, is_late in ((early, False), (late, True)):
                    value = between(run.readings, begin, begin + width, name)
                    found.setdefault((name, is_late), []).append(value)

    def pair(name: str) -> tuple[float, float]:
        return statistics.median(found[name, True]), statistics.median(found[name, False])

    made = []
    for name, words, factor in (
        ("controller_s", "controller's CPU per trial, random, ms", 1000.0),
        ("commands", "Redis commands per trial", 1.0),
        ("sent_bytes", "bytes to and from Redis per trial", 1.0),
        ("memory_bytes", "Redis memory per finished task, bytes", 1.0),
    ):
        ours, reference = pair(name)
        made.append(
            Row(
                name=f"{words}, at trial {late} (reference: at trial {early})",
                ours=ours * factor,
                reference=reference * factor,
                sense="<=",
                aim=1.1,
            )
        )
    return made


def _reports(runs: int, quick: bool, say: Callable[[str], None]) -> list[Row]:
    few, many = (50, 200) if quick else (200, 1600)
    found: dict[str, list[float]] = {"early": [], "late": [], "bytes": []}
    for number in range(runs):
        say(f"run {number + 1} of {runs}: reports")
        readings = []
        for reports in (few, (few + many) // 2, many):
            files = {
                "objective.py": REPORTING.replace("REPORTS", str(reports)),
                "sweep.toml": sweep(1, "seed = 1"),
            }
            with study(files, workers=1, read_every_s=0.05) as run:
                readings.append((reports, run.readings[-1]))
        (first, one), (second, two), (third, three) = readings
        found["early"].append((two.commands - one.commands) / (second - first))
        found["late"].append((three.commands - two.commands) / (third - second))
        found["bytes"].append((three.sent_bytes - two.sent_bytes) / (third - second))
    size = statistics.median(found["bytes"])
    return [
        Row(
            name=f"Redis commands per report, one every 5 ms, late in a trial, {size:.0f} bytes each "
            "(reference: early)",
            ours=statistics.median(found["late"]),
            reference=statistics.median(found["early"]),
            sense="<=",
            aim=1.1,
        )
    ]


def _tpe(runs: int, quick: bool, say: Callable[[str], None]) -> list[Row]:
    few, many, trials = (200, 400, 20) if quick else (500, 10_000, 60)
    found: dict[str, list[float]] = {}
    for number in range(runs):
        say(f"run {number + 1} of {runs}: TPE after {many} trials")
        found.setdefault("ours", []).append(_tpe_cpu(many, trials, ""))
        found.setdefault("optuna", []).append(_optuna_cpu(many, trials))
        say(f"run {number + 1} of {runs}: TPE with a bounded history after {few} and {many} trials")
        found.setdefault("few", []).append(_tpe_cpu(few, trials, "history = 500"))
        found.setdefault("many", []).append(_tpe_cpu(many, trials, "history = 500"))
    ours, theirs, early, late = (statistics.median(found[name]) for name in ("ours", "optuna", "few", "many"))
    return [
        Row(
            name=f"controller's CPU per trial, TPE, after {many} trials, ms (reference: Optuna in memory)",
            ours=ours,
            reference=theirs,
            sense="<=",
            aim=1.2,
        ),
        Row(
            name=f"the same with history = 500 (reference: after {few} trials)",
            ours=late,
            reference=early,
            sense="<=",
            aim=1.5,
        ),
    ]


def fill(study: optuna.Study, trials: int) -> None:
    """Give a study so many finished trials."""
    import random

    chance = random.Random(1)
    made = []
    for _ in range(trials):
        params = {name: chance.uniform(-1.0, 1.0) for name in SPACE}
        value = sum(one * one for one in params.values())
        made.append(optuna.trial.create_trial(params=params, distributions=dict(SPACE), value=value))
    study.add_trials(made)


def _tpe_cpu(before: int, trials: int, history: str) -> float:
    """Milliseconds of the controller's processor time per trial, in a study with so many before it."""

    def prepare(url: str) -> None:
        old = cached(optuna.create_study(study_name="old", storage=open_storage(url)))
        fill(old, before)
        storage = storage_of(old)
        assert isinstance(storage, TrialCache)
        storage.flush()

    parameters = "\n".join(f'{name} = {{ type = "float", low = -1.0, high = 1.0 }}' for name in SPACE)
    files = {
        "objective.py": TPE_OBJECTIVE,
        "sweep.toml": TPE.format(parameters=parameters, history=history, trials=trials + 12),
    }
    with study(files, prepare=prepare, workers=1, read_every_s=0.2) as run:
        return between(run.readings, 10, trials, "controller_s") * 1000


def _optuna_cpu(before: int, trials: int) -> float:
    """The same for Optuna alone."""
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.growth", str(before), str(trials)],
        capture_output=True,
        text=True,
        check=True,
    )
    return float(json.loads(done.stdout))


def _main(before: int, trials: int) -> None:
    import time

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(sampler=optuna.samplers.TPESampler())
    fill(study, before)

    def one() -> None:
        trial = study.ask(SPACE)
        study.tell(trial, sum(value * value for value in trial.params.values()))

    for _ in range(10):
        one()
    begun = time.process_time()
    for _ in range(trials - 10):
        one()
    print(json.dumps((time.process_time() - begun) / (trials - 10) * 1000))


if __name__ == "__main__":
    _main(int(sys.argv[1]), int(sys.argv[2]))
