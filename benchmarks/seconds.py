"""Trials of a second: how much of the time is lost between them."""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from benchmarks import peers
from benchmarks.noop import SLOTS
from benchmarks.rows import Row, read_stamps
from benchmarks.studies import STAMP, study, sweep

OBJECTIVE = (
    STAMP
    + """
def train(task, x):
    start = time.time()
    time.sleep(1.0)
    stamp(start)
    return x
"""
)


RAY_TRIALS = 40
"""Ray Tune starts a process for each trial, which takes two seconds or more here: fewer will do."""


def rows(runs: int, quick: bool, say: Callable[[str], None]) -> list[Row]:
    trials = 10 if quick else 200
    ours: list[float] = []
    rays: list[float] = []
    for number in range(runs):
        say(f"run {number + 1} of {runs}: {trials} trials of 1 s")
        ours.append(_ours(trials))
        if not quick:
            say(f"run {number + 1} of {runs}: {RAY_TRIALS} trials of 1 s, Ray Tune")
            rays.append(_ray(RAY_TRIALS))
    return made_of(trials, ours, rays)


def made_of(trials: int, ours: list[float], rays: list[float]) -> list[Row]:
    """The rows of what was measured: seconds from the first start to the last end, of each run."""
    floor = trials / SLOTS
    name = f"{trials} trials of 1 s, 2 slots: first start to last end"
    made = [
        Row(
            name=f"{name}, s (reference: the floor)",
            ours=statistics.median(ours),
            reference=floor,
            sense="<=",
            aim=1.02,
        )
    ]
    if rays:
        made.append(
            Row(
                name=f"{name}, over the floor (reference: {RAY_TRIALS} of Ray Tune's)",
                ours=statistics.median(ours) / floor,
                reference=statistics.median(rays) / (RAY_TRIALS / SLOTS),
                sense="<=",
                aim=1.0,
            )
        )
    return made


def _ours(trials: int) -> float:
    files = {"objective.py": OBJECTIVE, "sweep.toml": sweep(trials, "seed = 1")}
    with study(files) as run:
        return _span(run.stamps)


def _span(stamps: list[tuple[str, float, float]]) -> float:
    return max(end for _, _, end in stamps) - min(start for _, start, _ in stamps)


def _ray(trials: int) -> float:
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        environment = {**os.environ, "PYTHONPATH": str(Path(peers.__file__).parents[1])}
        subprocess.run(
            [sys.executable, "-m", "benchmarks.peers", "ray-1s", str(trials)],
            cwd=folder,
            env=environment,
            capture_output=True,
            check=True,
        )
        return _span(read_stamps((Path(folder) / "stamps").read_text().splitlines()))
