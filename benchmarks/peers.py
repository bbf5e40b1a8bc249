"""No-op trials by others: ``python -m benchmarks.peers NAME TRIALS`` in an empty folder, in which each trial
notes its slot, start and end in ``stamps``, as ours do (`benchmarks.noop`)."""

from __future__ import annotations

import logging
import os
import random
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.rows import Sample, environment, read_stamps, sample

SLOTS = 2


@dataclass(frozen=True, kw_only=True)
class Peer:
    """Another way to run trials."""

    title: str
    isolates: bool
    """Whether each trial has a process of its own, that can be killed."""
    persists: bool
    """Whether what was found out survives the program that controls it."""
    trials: int
    """Trials of one run: enough to leave the start out."""
    run: Callable[[int], None]


def measure(name: str, trials: int) -> Sample:
    """One run in a process of its own."""
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        root = str(Path(__file__).parents[1])
        variables = {**environment(), "PYTHONPATH": root, "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0"}
        done = subprocess.run(
            [sys.executable, "-m", "benchmarks.peers", name, str(trials)],
            cwd=folder,
            env=variables,
            capture_output=True,
            text=True,
            check=False,
        )
        noted = Path(folder) / "stamps"
        stamps = read_stamps(noted.read_text().splitlines() if noted.exists() else [])
        # Syne Tune may end before the last trial that it has started.
        if done.returncode or not trials - SLOTS <= len(stamps) <= trials:
            raise RuntimeError(f"{name}: {len(stamps)} of {trials} trials\n{done.stderr[-3000:]}")
        return sample(stamps)


def note(folder: str, seconds: float = 0.0) -> None:
    """What each trial does."""
    start = time.time()
    time.sleep(seconds)
    with open(os.path.join(folder, "stamps"), "a") as file:
        file.write(f"{os.getpid()} {start!r} {time.time()!r}\n")


def ray(trials: int, *, reuse: bool, seconds: float = 0.0) -> None:
    import ray as ray_
    from ray import tune

    folder = os.getcwd()

    def objective(config: dict[str, Any]) -> dict[str, float]:
        note(folder, seconds)
        return {"loss": config["x"]}

    ray_.init(num_cpus=SLOTS, include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR)
    tune.Tuner(
        objective,
        param_space={"x": tune.uniform(-1.0, 1.0)},
        tune_config=tune.TuneConfig(num_samples=trials, reuse_actors=reuse, metric="loss", mode="min"),
        run_config=tune.RunConfig(storage_path=os.path.join(folder, "ray"), verbose=0),
    ).fit()


def syne_tune(trials: int) -> None:
    from syne_tune import StoppingCriterion, Tuner
    from syne_tune.backend import LocalBackend
    from syne_tune.config_space import uniform
    from syne_tune.optimizer.baselines import RandomSearch

    script = Path("trial.py")
    script.write_text(
        "import argparse, sys\n"
        f"sys.path.insert(0, {str(Path(__file__).parents[1])!r})\n"
        "from benchmarks.peers import note\n"
        "from syne_tune import Reporter\n"
        "parser = argparse.ArgumentParser()\n"
        "parser.add_argument('--x', type=float)\n"
        "x = parser.parse_known_args()[0].x\n"
        f"note({os.getcwd()!r})\n"
        "Reporter()(loss=x)\n"
    )
    Tuner(
        trial_backend=LocalBackend(entry_point=str(script)),
        scheduler=RandomSearch({"x": uniform(-1.0, 1.0)}, metrics=["loss"]),
        stop_criterion=StoppingCriterion(max_num_trials_started=trials),
        n_workers=SLOTS,
        sleep_time=0.05,  # its default of 5 s would be all that is measured
    ).run()


def dask(trials: int) -> None:
    import optuna
    from distributed import Client, LocalCluster, as_completed

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler())
    space = {"x": optuna.distributions.FloatDistribution(-1.0, 1.0)}
    folder = os.getcwd()
    with (
        LocalCluster(n_workers=SLOTS, threads_per_worker=1, dashboard_address=None) as cluster,
        Client(cluster) as client,
    ):
        open_trials = {}

        def submit() -> Any:
            trial = study.ask(space)
            future = client.submit(note, folder, pure=False)
            open_trials[future.key] = trial
            return future

        running = as_completed([submit() for _ in range(2 * SLOTS)])
        started = 2 * SLOTS
        for future in running:
            trial = open_trials.pop(future.key)
            study.tell(trial, trial.params["x"])
            if started < trials:
                started += 1
                running.add(submit())


def optuna_processes(trials: int) -> None:
    code = (
        "import optuna, os, sys\n"
        "from benchmarks.peers import note\n"
        "optuna.logging.set_verbosity(optuna.logging.WARNING)\n"
        "study = optuna.load_study(study_name='s', storage='sqlite:///optuna.db',"
        " sampler=optuna.samplers.RandomSampler())\n"
        "def objective(trial):\n"
        "    x = trial.suggest_float('x', -1.0, 1.0)\n"
        "    note(os.getcwd())\n"
        "    return x\n"
        f"study.optimize(objective, n_trials={trials // SLOTS})\n"
    )
    import optuna

    optuna.create_study(study_name="s", storage="sqlite:///optuna.db")
    processes = [subprocess.Popen([sys.executable, "-c", code]) for _ in range(SLOTS)]
    for process in processes:
        process.wait(600)


PEERS = {
    "ray": Peer(title="Ray Tune", isolates=True, persists=True, trials=24, run=lambda n: ray(n, reuse=False)),
    "ray-reuse": Peer(
        title="Ray Tune, reuse_actors",
        isolates=False,
        persists=True,
        trials=200,
        run=lambda n: ray(n, reuse=True),
    ),
    "syne-tune": Peer(
        title="Syne Tune, local backend", isolates=True, persists=True, trials=24, run=syne_tune
    ),
    "dask": Peer(title="Dask + Optuna in memory", isolates=False, persists=False, trials=400, run=dask),
    "optuna": Peer(
        title="Optuna, a process per slot, SQLite",
        isolates=False,
        persists=True,
        trials=200,
        run=optuna_processes,
    ),
    "ray-1s": Peer(
        title="Ray Tune",
        isolates=True,
        persists=True,
        trials=200,
        run=lambda n: ray(n, reuse=False, seconds=1.0),
    ),
}


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    random.seed()
    PEERS[sys.argv[1]].run(int(sys.argv[2]))
