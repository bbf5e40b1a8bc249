"""How long a trial takes to begin whose objective imports something large, beside importing it."""

from __future__ import annotations

import importlib.util
import itertools
import statistics
import subprocess
import sys
import time
from collections.abc import Callable

from benchmarks.rows import Row, environment
from benchmarks.studies import STAMP, study, sweep

LIBRARIES = {"scikit-learn": "import sklearn.ensemble, sklearn.svm, scipy.stats", "torch": "import torch"}
"""Name → what an objective imports of it. One that isn't installed is left out."""
OBJECTIVE = (
    "IMPORT"
    + STAMP
    + """
def train(task, x):
    start = time.time()
    stamp(start)
    if FAILS:
        raise ValueError("a failure, after which its process is replaced")
    return x
"""
)


def rows(runs: int, quick: bool, say: Callable[[str], None]) -> list[Row]:
    made = []
    for name, statement in LIBRARIES.items():
        if importlib.util.find_spec(statement.removeprefix("import ").partition(".")[0]):
            made += _of(name, statement, runs, 8 if quick else 30, say)
    return made


def _of(library: str, statement: str, runs: int, trials: int, say: Callable[[str], None]) -> list[Row]:
    cold: list[float] = []
    found: dict[bool, list[float]] = {False: [], True: []}
    for number in range(runs):
        say(f"run {number + 1} of {runs}: importing {library}")
        begun = time.perf_counter()
        subprocess.run([sys.executable, "-c", statement], env=environment(), check=True)
        cold.append((time.perf_counter() - begun) * 1000)
        for fails in (False, True):
            say(f"run {number + 1} of {runs}: trials of an objective that imports it")
            files = {
                "objective.py": OBJECTIVE.replace("IMPORT", statement).replace("FAILS", str(fails)),
                "sweep.toml": sweep(trials, budget="max_concurrent = 1\n"),
            }
            with study(files, workers=1, may_fail=True) as run:
                stamps = run.stamps[2:]
            # From the end of one to the start of the next: asked, queued, taken, forked.
            gaps = [(after[1] - before[2]) * 1000 for before, after in itertools.pairwise(stamps)]
            found[fails].append(statistics.median(gaps))
    reference = statistics.median(cold)
    return [
        Row(
            name=f"a trial's start whose objective imports {library}, ms: {what} (reference: the import)",
            ours=statistics.median(found[fails]),
            reference=reference,
            sense="<=",
            aim=0.05,
        )
        for fails, what in ((False, "after one that ended"), (True, "after one that failed"))
    ]
