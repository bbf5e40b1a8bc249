"""64 running trials with 100 reports each: ask, report, and the pruner's decision."""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable

import optuna
from optuna.distributions import FloatDistribution

from benchmarks.rows import Row
from controller.search.parameters import SweepParameter
from controller.search.search import Search
from controller.search.trial_cache import TrialCache, cached
from worker.optuna_internals import storage_of, trial_id
from worker.trials.storage import open_storage

SPACE = {"x": FloatDistribution(-1.0, 1.0)}


def rows(runs: int, quick: bool, say: Callable[[str], None]) -> list[Row]:
    running, reports, rounds = (8, 10, 3) if quick else (64, 100, 10)
    ours, theirs = [], []
    with tempfile.TemporaryDirectory(prefix="bench-") as name:
        for number in range(runs):
            say(f"run {number + 1} of {runs}: {running} running trials with {reports} reports each")
            url = f"sqlite:///{name}/{number}.db"
            _fill(url, running, reports)
            theirs.append(_optuna(url, rounds, reports))
            ours.append(_ours(url, rounds, reports))
    return [
        Row(
            name=f"{running} running trials with {reports} reports: ask, report, decide, ms "
            "(reference: Optuna's RDB storage)",
            ours=statistics.median(ours),
            reference=statistics.median(theirs),
            sense="<=",
            aim=0.1,
        )
    ]


def _fill(url: str, running: int, reports: int) -> None:
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = cached(optuna.create_study(study_name="s", storage=open_storage(url)))
    for _ in range(running):
        trial = study.ask(SPACE)
        for step in range(reports):
            trial.report(1.0 / (step + 1), step)
    storage = storage_of(study)
    assert isinstance(storage, TrialCache)
    storage.flush()


def _load(url: str) -> optuna.Study:
    storage = optuna.storages.RDBStorage(url)
    pruner = optuna.pruners.MedianPruner(n_startup_trials=0)
    sampler = optuna.samplers.RandomSampler()
    return optuna.load_study(study_name="s", storage=storage, sampler=sampler, pruner=pruner)


def _optuna(url: str, rounds: int, reports: int) -> float:
    study = _load(url)
    trials = [
        optuna.Trial(study, trial_id(frozen)) for frozen in study.get_trials(deepcopy=False)[: rounds + 1]
    ]
    begun = 0.0
    for number, trial in enumerate(trials):
        if number == 1:
            begun = time.perf_counter()  # the first one fills caches
        study.ask(SPACE)
        trial.report(0.5, reports + number)
        trial.should_prune()
    return (time.perf_counter() - begun) / rounds * 1000


def _ours(url: str, rounds: int, reports: int) -> float:
    search = Search(cached(_load(url)), [SweepParameter("x", SPACE["x"])])
    asked = search.running()[: rounds + 1]
    begun = 0.0
    for number, one in enumerate(asked):
        if number == 1:
            begun = time.perf_counter()
        search.ask()
        search.report(one.number, 1000 + reports + number, 0.5)
        search.flush()
    return (time.perf_counter() - begun) / rounds * 1000
