"""Two searches, and two tasks, beside each other: what is said of them, and what can't be."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from controller.insight.compare import LEAST, Comparison, compare_studies
from controller.insight.compare_reading import named, read_side
from controller.insight.diff import diff_tasks
from controller.results.study_data import StudyData, TaskData
from controller.studies.study_file_data import read_study_file
from tests.dashboard import page_store
from tests.fakes import record
from tests.made_studies import make_study
from tests.study_data import LOSS, SIZE, made_up
from worker.protocol import ObjectiveMetric, Reason, Status, Store, StudyRecord, Summary
from worker.protocol.copies import write_tasks
from worker.protocol.errors import BadInput

__all__ = ["page_store"]


def study(
    name: str,
    values: Sequence[float | None],
    cost_s: float = 10.0,
    metrics: tuple[ObjectiveMetric, ...] = (LOSS,),
    **settings: Any,
) -> StudyData:
    """A study whose trials ended one after the other; None is one that failed."""
    tasks = []
    for trial, value in enumerate(values):
        status = Status.FAILED if value is None else Status.COMPLETED
        made = record(
            study=name, trial=trial, status=status, ended_at=100.0 + trial,
            reason_class=Reason.OBJECTIVE_ERROR if value is None else None, compute_s=cost_s,
        )  # fmt: skip
        metric = metrics[0]
        scalars = {} if value is None else {metric.key: Summary.of(metric.title, metric.series).add(value, 0)}
        tasks.append(TaskData(record=made, scalars=scalars))
    sweep = {"study": {"name": name}, **settings}
    return StudyData(
        study=StudyRecord(name=name, created_at=1.0, metrics=metrics, sweep=sweep),
        tasks=tuple(tasks),
        at=999.0,
    )


def searches(
    good: float, bad: float, studies: int, trials: int = 20
) -> tuple[list[StudyData], list[StudyData]]:
    """Two sides of random searches over ranges that begin at `good` and `bad`."""
    rng = np.random.default_rng(1)
    return tuple(  # type: ignore[return-value] # two of them
        [study(f"{side}-{seed}", list(low + rng.random(trials))) for seed in range(studies)]
        for side, low in (("a", good), ("b", bad))
    )


def verdicts(found: Comparison) -> list[str | None]:
    return [verdict.better for verdict in found.verdicts]


def test_the_best_so_far_over_trials_and_cost() -> None:
    left = study("l", [5.0, None, 3.0, 4.0, 1.0], cost_s=10, sampler={"type": "tpe", "seed": 1})
    right = study("r", [None, 2.0, 9.0], cost_s=20, sampler={"type": "random", "seed": 2})
    found = compare_studies([left], [right])
    marks = [
        (mark.at, *(None if side is None else side.mean for side in mark.sides)) for mark in found.over_trials
    ]
    assert marks == [(1, 5.0, None), (2, 5.0, 2.0), (3, 3.0, 2.0)]
    assert found.over_cost[-1].at == 50.0  # the first one's five trials; the other's first two fit in
    last = found.over_cost[-1].sides
    assert [side.mean for side in last if side is not None] == [1.0, 2.0]
    assert found.settings == {"sampler.type": ("tpe", "random")}
    assert verdicts(found) == [None, None]
    assert (
        "after 3 trials A has 3 and B 2: B is ahead, but 1 and 1 studies can't tell luck"
        in found.verdicts[0].text
    )
    assert f"it takes {LEAST} on each side" in found.verdicts[0].text
    assert "A is ahead" in found.verdicts[1].text
    assert json.loads(json.dumps(found.as_dict(), allow_nan=False))["studies"][1]["cost_s"] == 60.0


@pytest.mark.parametrize("studies", [LEAST, 8])
def test_a_better_search_is_told_from_luck(studies: int) -> None:
    left, right = searches(0.0, 5.0, studies)
    assert verdicts(compare_studies(left, right)) == ["A", "A"]
    assert verdicts(compare_studies(right, left)) == ["B", "B"]
    maximized = ObjectiveMetric(title="loss", series="", sign=type(LOSS.sign)("max"))
    both = [
        [replace(one, study=replace(one.study, metrics=(maximized,))) for one in side]
        for side in (left, right)
    ]
    assert verdicts(compare_studies(*both)) == ["B", "B"]
    few = compare_studies(left[:3], right[:3])
    assert verdicts(few) == [None, None]
    assert "3 and 3 studies can't tell luck" in few.verdicts[0].text


def test_equal_searches_are_seldom_told_apart() -> None:
    """Of sixty pairs of the same search, some three may look different."""
    rng, wrong = np.random.default_rng(7), 0
    for _ in range(60):
        left, right = ([study("s", list(rng.random(5))) for _ in range(5)] for _ in range(2))
        wrong += compare_studies(left, right).verdicts[0].better is not None
    assert wrong <= 7


def test_intervals_hold_the_mean_as_often_as_they_say() -> None:
    rng, inside = np.random.default_rng(3), 0
    for _ in range(120):
        side = [study("s", [float(rng.normal(7.0))]) for _ in range(6)]
        spread = compare_studies(side, side).over_trials[0].sides[0]
        assert spread is not None
        assert spread.low is not None
        assert spread.high is not None
        inside += spread.low <= 7.0 <= spread.high
    assert 106 <= inside <= 119


def test_what_can_not_be_compared_is_said() -> None:
    left = study("l", [1.0])
    with pytest.raises(BadInput, match="study 'r' has no objective 'loss'; it has size"):
        compare_studies([left], [study("r", [1.0], metrics=(SIZE,))])
    other = ObjectiveMetric(title="loss", series="", sign=type(LOSS.sign)("max"))
    with pytest.raises(BadInput, match="another goal"):
        compare_studies([left], [study("r", [1.0], metrics=(other,))])
    with pytest.raises(BadInput, match="no objective 'x'"):
        compare_studies([left], [left], "x")
    none = compare_studies([left], [study("r", [None, None])])
    assert "a study has no result after 1 trials" in none.verdicts[0].text
    empty = compare_studies([left], [study("r", [])])
    assert verdicts(empty) == [None, None]
    assert empty.over_trials == empty.over_cost == ()
    spaces = compare_studies([left], [study("r", [1.0], parameters={"x": {"low": 0}})])
    assert any("search spaces differ" in note for note in spaces.notes)


def test_sides_are_named_by_patterns_and_files(page_store: Store, tmp_path: Path) -> None:
    for name in ("cmp-1", "cmp-2", "cmp[x]"):
        make_study(page_store, name, 3)
    assert named(page_store, "cmp-*") == ["cmp-1", "cmp-2"]
    assert named(page_store, "cmp[x]") == ["cmp[x]"]
    for text in ("cmp-9", "nope-*"):
        with pytest.raises(BadInput):
            named(page_store, text)
    found = read_side(["cmp-1", "cmp-*"], lambda: page_store, lambda text: None)
    assert [data.study.name for data in found] == ["cmp-1", "cmp-2"]
    file = Path(__file__).parents[2] / "benchmarks" / "studies" / "digits.study.gz"

    def unused() -> Store:
        raise AssertionError("a file needs no Redis")

    (data,) = read_side([str(file)], unused, lambda text: read_study_file(Path(text)))
    assert compare_studies([data], [data]).sides[0][0].best[-1] == pytest.approx(0.98)


# Tasks


def test_two_tasks(page_store: Store) -> None:
    made, copies = made_up(10, name="differ")
    page_store.studies.save(made)
    write_tasks(page_store, copies)
    first, second = copies[0].record.id, copies[1].record.id
    found = diff_tasks(page_store, first, second)
    assert {line.name for line in found.compared.differing} >= {"lr"}
    assert found.surroundings is None
    assert first[:8] in found.unknown
    assert found.code_that_differs == []
    (apart,) = [one for one in found.curves if one.metric == "loss"]
    assert apart.common > 1
    assert apart.widest is not None
    assert apart.last_at is not None
    kinds = {row["kind"] for row in found.rows()}
    assert {"parameter", "result"} <= kinds
    answer = json.loads(json.dumps(found.as_dict(), allow_nan=False))
    assert answer["surroundings_that_differ"] is None
    with pytest.raises(BadInput, match="both are task"):
        diff_tasks(page_store, first, first)


def test_code_and_other_curves_differ(page_store: Store) -> None:
    made, copies = made_up(4, name="code")
    page_store.studies.save(made)
    changed = replace(
        copies[1].record,
        spec=replace(
            copies[1].record.spec, objective={"kind": "function", "target": "n:g"}, code={"sha256": "ab" * 32}
        ),
    )
    write_tasks(page_store, [copies[0], replace(copies[1], record=changed)])
    found = diff_tasks(page_store, copies[0].record.id, changed.id)
    differing = {line.name: line.values[1] for line in found.code_that_differs}
    assert differing["objective.target"] == "n:g"
    assert differing["code"] == "ab" * 6
    assert not found.is_same
