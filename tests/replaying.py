"""Studies to be replayed: run by the search that controllers use, on real storages.

A killed controller is one that is dropped without its last writes.
"""

from __future__ import annotations

import random
import zlib
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import optuna
from optuna.trial import TrialState

from controller.insight.replay import replay
from controller.insight.replay_record import Recorded
from controller.insight.replay_result import Replayed
from controller.loop.observer import Observer
from controller.search.decision_log import ADOPTED, ENDED, LAUNCHED
from controller.search.search import Asked, Search
from controller.session.sweep_objects import objective_of, parameters_of
from controller.session.sweep_source import SweepSource
from controller.sweep import Sweep, parse_sweep
from worker.optuna_internals import storage_of, study_id
from worker.protocol import StudyRecord
from worker.trials.storage import open_storage

X = {"x": {"type": "float", "low": 0.0, "high": 1.0}, "y": {"type": "float", "low": 0.0, "high": 1.0}}
CONDITIONAL = {
    "opt": {"choices": ["sgd", "adam"]},
    "lr": {"type": "float", "low": 1e-5, "high": 0.1, "log": True},
    "momentum": {"type": "float", "low": 0.0, "high": 0.99, "when": {"opt": "sgd"}},
}
STEPS = 8


def sweep_of(
    *,
    sampler: dict[str, Any],
    pruner: dict[str, Any] | None = None,
    parameters: dict[str, Any] | None = None,
    metrics: int = 1,
    **budget: Any,
) -> Sweep:
    metric = [{"name": f"loss/{place}", "goal": "minimize"} for place in range(metrics)]
    return parse_sweep(
        {
            "study": {"name": "s", "metric": metric if metrics > 1 else metric[0]},
            "objective": {"function": "m:f"},
            "parameters": parameters or X,
            "sampler": sampler,
            **({"pruner": pruner} if pruner else {}),
            "budget": {"max_trials": 100, **budget},
        },
        "test",
    )


@dataclass
class Studied:
    """A study in a storage, on which controllers act one after the other."""

    url: str
    fails: Callable[[int], bool] = lambda number: False
    rng: random.Random = field(default_factory=lambda: random.Random(7))
    running: dict[int, Asked] = field(default_factory=dict)
    steps: dict[int, int] = field(default_factory=dict)
    seconds: float = 1_000_000.0
    sweep: Sweep | None = None
    search: Search | None = None

    def start(self, sweep: Sweep) -> Search:
        """A controller begins: what was not written before is lost, what runs is taken up."""
        self.sweep = sweep
        source = SweepSource(sweep)
        storage = open_storage(self.url)
        study = source.open_study(storage)
        search = source.open_search(study, storage, Observer())
        search.log.clock = self._now
        budget = {"max_iterations": None, **sweep.budget.to_dict()}
        search.log.begun({"study": "s", "optuna": optuna.__version__, "budget": budget, **search.settings})
        self.running = {asked.number: asked for asked in search.running()}
        if self.running:
            search.log.record(ADOPTED, {"running": {"count": 1, "trials": sorted(self.running)}})
        for number in self.running:
            told = search.told_values(number)
            self.steps[number] = max(told, default=-1) + 1
            search.note(number, LAUNCHED)
        self.search = search
        return search

    def run(self, trials: int, slots: int = 3) -> None:
        """Run so many more trials, some of them beside each other; leaves some running."""
        search, asked = self.search, 0
        assert search is not None
        while asked < trials:
            while len(self.running) < slots and asked < trials:
                found = search.ask()
                if found is None:
                    return
                self.running[found.number], self.steps[found.number] = found, 0
                search.note(found.number, LAUNCHED)
                asked += 1
            self.report(self.rng.choice(sorted(self.running)))
            if self.rng.random() < 0.05:
                search.flush()

    def finish(self) -> None:
        """Run what runs to its end, and write all."""
        while self.running:
            self.report(self.rng.choice(sorted(self.running)))
        assert self.search is not None
        self.search.flush()

    def report(self, number: int) -> None:
        search, sweep = self.search, self.sweep
        assert search is not None
        assert sweep is not None
        step = self.steps[number]
        self.steps[number] += 1
        values = [
            sum(
                zlib.crc32(f"{place} {value!r}".encode()) / 2**32
                for value in self.running[number].parameters.values()
            )
            + 1 / (step + 1)
            for place in range(len(sweep.study.metrics))
        ]
        if search.report(number, step, values[0], least=sweep.budget.min_iterations or 0):
            self.end(number, TrialState.PRUNED)
        elif self.fails(number):
            self.end(number, TrialState.FAIL)
        elif self.steps[number] >= min(STEPS, sweep.budget.max_iterations or STEPS):
            self.end(number, TrialState.COMPLETE, values)

    def end(self, number: int, state: TrialState, values: list[float] | None = None) -> None:
        assert self.search is not None
        status = {"COMPLETE": "completed", "PRUNED": "stopped", "FAIL": "failed"}[state.name]
        reason = {"PRUNED": {"class": "pruned"}, "FAIL": {"class": "objective_error"}}.get(state.name, {})
        used = [self.steps[number], self.steps[number], float(self.steps[number])]
        self.search.note(number, ENDED)
        self.search.tell(number, state, values, why={"task": status, **reason, "used": used})
        del self.running[number]

    def _now(self) -> float:
        """A clock that goes a second further each time that it is looked at."""
        self.seconds += 1.0
        return self.seconds

    def kill(self) -> None:
        """The controller is gone, with what it had not written."""
        self.search = None

    def stored(self) -> optuna.Study:
        return optuna.load_study(study_name="s", storage=open_storage(self.url))

    def recorded(self) -> Recorded:
        study, sweep = self.stored(), self.sweep
        return Recorded(
            record=StudyRecord(
                name="s", created_at=0.0, metrics=objective_of(sweep).metrics if sweep is not None else ()
            ),
            directions=tuple(study.directions),
            trials=tuple(study.trials),
            attributes=storage_of(study).get_study_system_attrs(study_id(study)),
            parameters=parameters_of(sweep) if sweep is not None else None,
        )

    def replayed(self) -> Replayed:
        return replay(self.recorded())
