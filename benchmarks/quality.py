"""Whether TPE with a bounded history finds as good values: ``python -m benchmarks.quality``.

COCO's functions (bbob) in five dimensions, both samplers from the same seeds. Needs ``optuna-rq[bench]``.
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import optuna
from optuna.samplers import BaseSampler, TPESampler

from controller import BoundedHistory

FUNCTIONS = {3: "Rastrigin", 8: "Rosenbrock", 15: "rotated Rastrigin", 21: "Gallagher"}
DIMENSIONS = 5
RESULTS = Path(__file__).with_name("quality.json")


def run(function: int, seed: int, trials: int, newest: int | None) -> tuple[float, float]:
    """The best value after `trials`, and the seconds of ask and tell."""
    import cocoex

    suite = cocoex.Suite(
        "bbob", "", f"function_indices:{function} dimensions:{DIMENSIONS} instance_indices:1"
    )
    problem = suite[0]
    sampler: BaseSampler = TPESampler(seed=seed)
    if newest is not None:
        sampler = BoundedHistory(sampler, newest=newest)
    study = optuna.create_study(sampler=sampler)
    space = {f"x{i}": optuna.distributions.FloatDistribution(-5.0, 5.0) for i in range(DIMENSIONS)}
    best, begun = math.inf, time.process_time()
    for _ in range(trials):
        trial = study.ask(space)
        value = float(problem([trial.params[name] for name in space]))
        best = min(best, value)
        study.tell(trial, value)
    return best, time.process_time() - begun


def compare(pairs: list[tuple[float, float]]) -> dict[str, Any]:
    """How bounded values stand to unbounded ones, pairwise; the sign test's probability, two-sided."""
    better = sum(bounded < whole for bounded, whole in pairs)
    worse = sum(bounded > whole for bounded, whole in pairs)
    count = better + worse
    tail = sum(math.comb(count, k) for k in range(min(better, worse) + 1)) / 2**count if count else 1.0
    return {
        "bounded": statistics.median(bounded for bounded, _ in pairs),
        "whole": statistics.median(whole for _, whole in pairs),
        "better": better,
        "worse": worse,
        "p": min(1.0, 2 * tail),
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--trials", type=int, default=1000)
    parser.add_argument("--newest", type=int, default=250)
    parser.add_argument("--processes", type=int, default=1, help="at a time")
    parser.add_argument("--output", type=Path, default=RESULTS)
    options = parser.parse_args()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    rows: list[dict[str, Any]] = []
    every: list[tuple[float, float]] = []
    with ProcessPoolExecutor(options.processes) as pool:
        for function, name in FUNCTIONS.items():
            asked = [
                [
                    pool.submit(run, function, seed, options.trials, newest)
                    for newest in (options.newest, None)
                ]
                for seed in range(options.seeds)
            ]
            pairs, seconds = [], [0.0, 0.0]
            for seed, both in enumerate(asked):
                found = [each.result() for each in both]
                pairs.append((found[0][0], found[1][0]))
                seconds = [total + spent for total, (_, spent) in zip(seconds, found, strict=True)]
                print(
                    f"{name}, seed {seed}: {found[0][0]:.4g} {found[1][0]:.4g}", file=sys.stderr, flush=True
                )
            every += pairs
            rows.append({"function": f"f{function} {name}", **compare(pairs), "seconds": seconds})
            result = {"options": {**vars(options), "output": None}, "rows": rows, "all": compare(every)}
            options.output.write_text(json.dumps(result, indent=1) + "\n")
    print(json.dumps(rows, indent=1))
    return 0


if __name__ == "__main__":
    sys.exit(main())
