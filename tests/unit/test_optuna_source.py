"""Where the optimizers' studies come from: a grid in ClearML's order, also one that an earlier version began."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import optuna
import pytest

from controller.api.optuna_source import IN_ORDER, OptunaSource
from controller.loop.observer import Observer
from controller.search.parameters import DiscreteParameterRange
from controller.search.samplers import make_sampler
from controller.search.search import Search

SPACE = [DiscreteParameterRange("b", [1, 2, 3]), DiscreteParameterRange("a", [1, 2, 3, 4])]
PRODUCT = [(b, a) for b in (1, 2, 3) for a in (1, 2, 3, 4)]


def opened(storage: str) -> Search:
    directions = [optuna.study.StudyDirection.MAXIMIZE]
    return OptunaSource(SPACE, directions, storage, "grid").open("grid", Observer())


def ask(search: Search, most: int) -> list[tuple[Any, ...]]:
    found: list[tuple[Any, ...]] = []
    while len(found) < most:
        asked = search.ask()
        if asked is None:
            break
        found.append(tuple(asked.parameters.values()))
        search.tell(asked.number, optuna.trial.TrialState.COMPLETE, [1.0])
    search.flush()
    return found


@pytest.mark.parametrize("first", [0, 5, 11])
def test_a_grid_goes_on_in_its_order(tmp_path: Path, first: int) -> None:
    storage = f"sqlite:///{tmp_path}/optuna.db"
    assert ask(opened(storage), first) == PRODUCT[:first]
    assert ask(opened(storage), 99) == PRODUCT[first:]


@pytest.mark.parametrize("first", [1, 5, 11])
def test_a_grid_that_an_earlier_version_began_goes_on_to_its_end(tmp_path: Path, first: int) -> None:
    storage = f"sqlite:///{tmp_path}/optuna.db"
    sampler = make_sampler("grid", {}, None, SPACE)
    study = optuna.create_study(storage=storage, study_name="grid", direction="maximize", sampler=sampler)
    begun = ask(Search(study, SPACE), first)
    assert IN_ORDER not in study.user_attrs
    left = ask(opened(storage), 99)
    assert sorted(begun + left) == sorted(PRODUCT)
