"""The trials that importance is judged by: which count, in which order, with which parameters."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import optuna
from optuna.distributions import BaseDistribution, IntDistribution
from optuna.trial import FrozenTrial
from scipy.stats import rankdata

from controller.figures.by_optuna import distribution
from controller.figures.sample import sampled
from controller.figures.space import Dimension, dimensions, parameters_of, shown
from controller.results.space import Space, spaces_of
from controller.results.study_data import StudyData, TaskData
from worker.protocol import Reason, Status
from worker.protocol.errors import BadInput
from worker.protocol.printable import one_line

FEWEST = 20
"""Trials with a result that it takes to say what matters: the best are then five, a quarter."""
MOST = 600
"""Trials that are looked at: the best of a larger study, and of the others every so many."""
BEST = 10
"""One in so many trials is among the best."""
FEWEST_BEST = 5
MOST_ONE_HOT = 6
"""Choices that a forest sees one by one; of more, it sees their places in the list: each doubles the cost."""


@dataclass(frozen=True, kw_only=True)
class Searched:
    """One parameter, over the trials that have it."""

    name: str
    dimension: Dimension
    space: Space | None
    """What it is chosen from; None where the study doesn't say, or says it differently in several places."""
    numbers: frozenset[int]
    """The trials that have it, by their place in the sample."""

    @property
    def varies(self) -> bool:
        return len(self.dimension.categories) > 1 or self.dimension.low < self.dimension.high

    @property
    def distribution(self) -> BaseDistribution:
        return distribution(self.dimension)

    @property
    def forest_distribution(self) -> BaseDistribution:
        """As a forest sees it."""
        count = len(self.dimension.categories)
        return IntDistribution(0, count - 1) if count > MOST_ONE_HOT else self.distribution

    def value(self, raw: Any) -> Any:
        return shown(raw) if self.dimension.categories else raw

    def forest_value(self, raw: Any) -> Any:
        categories = self.dimension.categories
        return categories.index(shown(raw)) if len(categories) > MOST_ONE_HOT else self.value(raw)


@dataclass(frozen=True, kw_only=True)
class Sample:
    """What is looked at."""

    data: StudyData
    objective: int
    tasks: tuple[TaskData, ...]
    rows: tuple[Mapping[str, Any], ...]
    """The parameters of each task."""
    ranks: np.ndarray
    """Of each task: 1 for the best; the same for equal values."""
    parameters: tuple[Searched, ...]
    """In the order of the search space."""
    notes: tuple[str, ...]
    """What was left out, and what else limits the answer."""

    @property
    def best(self) -> list[int]:
        """Places of the best tasks, the best first: a tenth, at least five."""
        count = max(FEWEST_BEST, math.ceil(len(self.tasks) / BEST))
        return [int(place) for place in np.argsort(self.ranks, kind="stable")[:count]]

    @property
    def quantile(self) -> float:
        """The share of the best."""
        return len(self.best) / len(self.tasks)

    def groups(self) -> dict[frozenset[int], list[Searched]]:
        """The trials that have the same parameters in common → those that vary in them."""
        found: dict[frozenset[int], list[Searched]] = {}
        for one in self.parameters:
            if one.varies:
                found.setdefault(one.numbers, []).append(one)
        return found


def sample_of(data: StudyData, objective: int = 0) -> Sample:
    """The trials of a study that have a result.

    Pruned trials count with the last value that they reported: without them only those would be compared that
    were good enough to be let go on.

    Raises:
        BadInput: there are too few, or nothing differs; says how many it would take.
    """
    ended = [task for task in data.ranked() if task.record.status.is_finished]
    if len(ended) < FEWEST:
        raise BadInput(_too_few(data, len(ended)))
    spaces = {name: found[0] for name, found in spaces_of(data.study.sweep).items() if len(found) == 1}
    known = set(spaces_of(data.study.sweep))
    inside = [task for task in ended if _is_inside(parameters_of(task), spaces)]
    notes = []
    if len(inside) < len(ended):
        notes.append(f"{_trials(len(ended) - len(inside))} left out: outside today's search space")
    if len(inside) < FEWEST:
        raise BadInput(
            f"only {len(inside)} of {len(ended)} trials lie in today's search space; it takes {FEWEST}"
        )
    tasks = sampled(data, inside, MOST, objective)
    if len(tasks) < len(inside):
        notes.append(f"{len(tasks)} of {len(inside)} trials looked at")
    if data.left_out:
        notes.append(f"{data.left_out} more trials of this large study were not read")
    pruned = sum(task.record.reason_class is Reason.PRUNED for task in tasks)
    if pruned:
        notes.append(f"{pruned} pruned trials count with their last value")
    ranks = _ranks(data, tasks, objective)
    rows = [parameters_of(task) for task in tasks]
    parameters = _parameters(data, rows, spaces)
    if known:
        gone = sorted(one.name for one in parameters if one.name not in known)
        if gone:
            notes.append(f"no longer searched: {', '.join(f'`{one_line(name)}`' for name in gone)}")
    if not any(one.varies for one in parameters):
        raise BadInput(f"no parameter of study {data.study.name!r} differs between its trials")
    return Sample(
        data=data,
        objective=objective,
        tasks=tuple(tasks),
        rows=tuple(rows),
        ranks=ranks,
        parameters=tuple(parameters),
        notes=tuple(notes),
    )


def objective_of(data: StudyData, named: str | None) -> int:
    """The place of the objective that is meant.

    Args:
        named: its key, or its place from 0; None where there is only one.

    Raises:
        BadInput: there are several, or there is none of that name; says which there are.
    """
    keys = [metric.key for metric in data.objectives]
    if named is None:
        if len(keys) == 1:
            return 0
        raise BadInput(
            f"study {data.study.name!r} has {len(keys)} objectives; choose one with --objective: "
            + ", ".join(keys)
        )
    if named in keys:
        return keys.index(named)
    if named.isdecimal() and int(named[:9]) < len(keys):
        return int(named)
    raise BadInput(f"no objective {named!r:.100}; there are: {', '.join(keys)}")


def frozen_trials(sample: Sample, places: Sequence[int], *, forest: bool = False) -> list[FrozenTrial]:
    """Some trials of a sample as Optuna's, numbered by their order, in memory.

    Args:
        forest: with values as a forest sees them.
    """
    by_name = {one.name: one for one in sample.parameters if one.varies}
    study = optuna.create_study()
    made = []
    for place in places:
        row = {name: value for name, value in sample.rows[place].items() if name in by_name}
        made.append(
            optuna.trial.create_trial(
                params={
                    name: by_name[name].forest_value(value) if forest else by_name[name].value(value)
                    for name, value in row.items()
                },
                distributions={
                    name: by_name[name].forest_distribution if forest else by_name[name].distribution
                    for name in row
                },
                value=float(sample.ranks[place]),
            )
        )
    study.add_trials(made)
    return study.get_trials(deepcopy=False)


class Drawn(optuna.Study):
    """A study that has some trials, the same one several times over if it is drawn so."""

    def __init__(self, trials: list[FrozenTrial]) -> None:
        storage = optuna.storages.InMemoryStorage()
        name = optuna.create_study(storage=storage).study_name
        super().__init__(name, storage)
        self._drawn = trials

    def get_trials(self, deepcopy: bool = True, states: object = None) -> list[FrozenTrial]:
        """All of them: each is completed. They are not copied."""
        return self._drawn


def _too_few(data: StudyData, count: int) -> str:
    name = data.study.name
    failed = [task.record for task in data.tasks if task.record.status is Status.FAILED]
    if not count and failed:
        reason = one_line(failed[-1].reason, 200)
        return (
            f"study {name!r}: no trial has a result, {len(failed)} failed ({reason}): nothing says what "
            f"matters; it takes {FEWEST} trials with a result"
        )
    return (
        f"study {name!r} has {_trials(count)} with a result: what matters takes {FEWEST}, "
        f"{FEWEST - count} more"
    )


def _trials(count: int) -> str:
    return f"{count} trial{'' if count == 1 else 's'}"


def _is_inside(row: Mapping[str, Any], spaces: Mapping[str, Space]) -> bool:
    """Whether today's search space has such values; a study's space may have changed while it ran."""
    for name, value in row.items():
        space = spaces.get(name)
        if space is None:
            continue
        if space.kind == "choices":
            if shown(value) not in map(shown, space.choices):
                return False
        elif space.low is not None and space.place(value) is None:
            return False
    return True


def _ranks(data: StudyData, tasks: Sequence[TaskData], objective: int) -> np.ndarray:
    metric = data.objectives[objective]
    worse = -1.0 if metric.sign.maximizes else 1.0
    values = np.array([worse * float(task.value(metric) or 0.0) for task in tasks])
    if values.min() == values.max():
        raise BadInput(f"all {len(tasks)} trials have the same value of {metric.key}: nothing matters for it")
    return np.asarray(rankdata(values))


def _parameters(
    data: StudyData, rows: Sequence[Mapping[str, Any]], spaces: Mapping[str, Space]
) -> list[Searched]:
    order = list(spaces_of(data.study.sweep))
    found = []
    for seen in dimensions(data.study.sweep, rows):
        space = spaces.get(seen.name)
        if space is not None and space.low is not None and space.high is not None and not seen.categories:
            low, high = min(seen.low, float(space.low)), max(seen.high, float(space.high))
            seen = replace(seen, low=low, high=high, log=space.log and low > 0)
        numbers = frozenset(place for place, row in enumerate(rows) if seen.name in row)
        found.append(Searched(name=seen.name, dimension=seen, space=space, numbers=numbers))
    return sorted(found, key=lambda one: order.index(one.name) if one.name in order else len(order))
