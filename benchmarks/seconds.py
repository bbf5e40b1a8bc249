"""Trials of a second: how much of the time is lost between them."""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time
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


def rows(runs: int, quick: bool, say: Callable[[str], None]) -> list[Row]:
    trials = 10 if quick else 200
    floor = trials / SLOTS
    ours, whole, rays, rays_whole = [], [], [], []
    for number in range(runs):
        say(f"run {number + 1} of {runs}: {trials} trials of 1 s")
        files = {"objective.py": OBJECTIVE, "sweep.toml": sweep(trials, "seed = 1")}
        with study(files) as run:
            ours.append(_span(run.stamps))
            whole.append(run.seconds)
        if not quick:
            say(f"run {number + 1} of {runs}: {trials} trials of 1 s, Ray Tune")
            span, seconds = _ray(trials)
            rays.append(span)
            rays_whole.append(seconds)
    name = f"{trials} trials of 1 s, 2 slots"
    made = [
        Row(
            name=f"{name}: first start to last end, s (reference: the floor)",
            ours=statistics.median(ours),
            reference=floor,
            sense="<=",
            aim=1.02,
        )
    ]
    if rays:
        for words, mine, theirs in (
            ("first start to last end, s", ours, rays),
            ("the whole command, s", whole, rays_whole),
        ):
            made.append(
                Row(
                    name=f"{name}: {words} (reference: Ray Tune)",
                    ours=statistics.median(mine),
                    reference=statistics.median(theirs),
                    sense="<=",
                    aim=1.0,
                )
            )
    return made


def _span(stamps: list[tuple[str, float, float]]) -> float:
    return max(end for _, _, end in stamps) - min(start for _, start, _ in stamps)


def _ray(trials: int) -> tuple[float, float]:
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        environment = {**os.environ, "PYTHONPATH": str(Path(peers.__file__).parents[1])}
        begun = time.monotonic()
        subprocess.run(
            [sys.executable, "-m", "benchmarks.peers", "ray-1s", str(trials)],
            cwd=folder,
            env=environment,
            capture_output=True,
            check=True,
        )
        seconds = time.monotonic() - begun
        return _span(read_stamps((Path(folder) / "stamps").read_text().splitlines())), seconds
