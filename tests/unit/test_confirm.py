"""What repeats with other seeds say: elimination, estimates, words."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pytest

from controller.insight.confirm import confirmation_of
from controller.insight.confirm_rounds import Repeat, Standing, standing
from controller.insight.confirm_statistics import (
    clearly_worse,
    expected_luck,
    intervals,
    probabilities,
    spreads,
)
from controller.insight.confirm_tasks import repeat_id, repeat_seed
from controller.results.study_data import TaskData
from worker.protocol import ObjectiveMetric, Reason, Status, StudyRecord, Summary, TaskRecord, TaskSpec
from worker.protocol.confirmations import ConfirmPlan
from worker.protocol.metrics import Sign, split_key


def _run(truth: Sequence[float], seeds: int, draw: np.random.Generator):
    """Repeats as elimination asks for them."""
    repeats: list[dict[int, Repeat]] = [{} for _ in truth]
    while (now := standing(repeats, seeds)).wanted:
        for number, repeat in now.wanted:
            repeats[number][repeat] = Repeat(scores=(float(truth[number] + draw.standard_normal()),))
    return repeats, now


def test_the_next_repeats_follow_from_results_alone():
    draw = np.random.default_rng(3)
    repeats, end = _run([0.0, 0.1, 5.0], 6, draw)
    assert end.dropped
    assert not end.wanted
    # In any order of arrival, and from any subset of what has ended: the same results lead to the same end.
    again: list[dict[int, Repeat]] = [{} for _ in repeats]
    while wanted := standing(again, 6).wanted:
        number, repeat = wanted[-1]
        again[number][repeat] = repeats[number][repeat]
    assert again == repeats
    assert standing(again, 6) == end


def test_a_round_waits_for_its_last_repeat():
    known = [{0: Repeat(scores=(0.0,)), 1: Repeat(scores=(0.1,))}, {0: Repeat(scores=(9.0,))}]
    assert standing(known, 5) == Standing(wanted=((1, 1),), least=1, most=1 + 2 * 3)


def test_what_fails_mostly_gets_no_more_repeats():
    failed, fine = Repeat(scores=None), Repeat(scores=(1.0,))
    now = standing([{0: failed, 1: failed}, {0: fine, 1: fine}], 3)
    assert now.dropped[0].by is None
    assert now.wanted == ((1, 2),)


def test_of_several_objectives_only_what_is_worse_in_all_is_dropped():
    good, bad = [9.0, 9.1, 9.2], [1.0, 1.1, 1.2]
    assert clearly_worse([[good, bad], [good, bad]], 3)[1] is not None
    assert clearly_worse([[good, bad], [bad, good]], 3) == [None, None]
    front = probabilities([[good, bad, bad], [bad, good, bad]])
    assert front[0] > 0.9
    assert front[1] > 0.9
    assert front[2] < 0.5


def test_spreads_that_clearly_differ_are_not_pooled():
    calm = [1.0, 1.001, 0.999, 1.0005]
    wild = [0.0, 5.0, -5.0, 3.0]
    assert not spreads([calm, wild]).pooled
    narrow, wide = intervals([calm, wild])
    assert narrow[1] - narrow[0] < 0.1 < wide[1] - wide[0]
    assert spreads([calm, calm]).pooled


def test_repeats_that_never_differ():
    assert probabilities([[[1.0, 1.0], [2.0, 2.0], [2.0, 2.0]]]) == [0.0, 0.5, 0.5]
    assert clearly_worse([[[1.0, 1.0], [2.0, 2.0]]], 3) == [(1, 0.0), None]
    assert intervals([[1.0, 1.0]]) == [(1.0, 1.0)]


def test_too_few_repeats_say_nothing():
    assert intervals([[1.0], []]) == [None, None]
    assert probabilities([[[1.0, 1.2], []]]) == [1.0, 0.0]
    assert clearly_worse([[[1.0], [2.0]]], 3) == [None, None]


def test_the_luck_that_is_expected_grows_with_the_trials():
    assert expected_luck(1.0, 1) == 0.0
    # The mean of the largest of 100 normal numbers.
    assert math.isclose(expected_luck(2.0, 100), 2 * 2.508, rel_tol=0.01)


# The answer

MIN = ObjectiveMetric(title="loss", series="loss", sign=Sign.MIN)
MAX = ObjectiveMetric(title="accuracy", series="accuracy", sign=Sign.MAX)


def _task(metric: ObjectiveMetric, value: float | None, trial: int = -1, **fields) -> TaskData:
    status = fields.pop("status", Status.COMPLETED)
    record = TaskRecord(
        id=fields.pop("id", f"{trial:032x}"),
        name="t",
        study="s",
        trial=trial,
        spec=TaskSpec(parameters={"x": 0.5}, searched=("x",), metrics=(metric,)),
        status=status,
        created_at=1.0,
        **fields,
    )
    title, series = split_key(metric.key)
    scalars = {} if value is None else {metric.key: Summary.of(title, series).add(value, 0)}
    return TaskData(record=record, scalars=scalars)


def _answer(metric: ObjectiveMetric, shown: Sequence[float], values, *, k: int = 5, seeds: int = 3, **more):
    """The answer for configurations that showed these values, with the values of their repeats."""
    study = StudyRecord(name="s", created_at=1.0, metrics=(metric,))
    sources = {f"{n:032x}": _task(metric, value, n) for n, value in enumerate(shown)}
    plan = ConfirmPlan(k=k, seeds=seeds, of=tuple(sources), trials=40, **more)
    tasks = {}
    for source, row in zip(sources, values, strict=True):
        for repeat, value in enumerate(row):
            found = repeat_id(source, repeat)
            status = Status.FAILED if value is None else Status.COMPLETED
            tasks[found] = _task(metric, value, id=found, status=status)
    return confirmation_of(study, plan, sources, tasks)


@pytest.mark.parametrize(("metric", "sign"), [(MIN, -1.0), (MAX, 1.0)])
def test_the_winner_was_lucky(metric, sign):
    repeats = [[sign * v for v in row] for row in ([0.80, 0.81, 0.79], [0.85, 0.86, 0.84])]
    answer = _answer(metric, [sign * 0.9, sign * 0.855], repeats, k=2)
    first, second = answer.configurations
    assert (first.trial, first.place, second.place) == (1, 2, 1)
    assert first.probability is not None
    assert first.probability > 0.95
    lucky = second.measures[0]
    assert lucky.was_lucky
    assert lucky.mean == pytest.approx(sign * 0.8)
    assert lucky.advantage == pytest.approx(0.1)  # better is greater, whatever the goal
    assert lucky.low < lucky.mean < lucky.high
    assert "its advantage was luck" in " ".join(answer.words)
    assert "11 %" in " ".join(answer.words)
    assert answer.ended
    told = answer.as_dict()["configurations"][0]
    assert told["objectives"][metric.key]["interval"] == [first.measures[0].low, first.measures[0].high]


def test_failed_repeats_and_too_few_configurations_are_said():
    answer = _answer(MIN, [1.0, 2.0], [[1.0, None, 1.1], [2.0, 2.1, 2.05]])
    assert answer.configurations[0].failed == 1
    words = " ".join(answer.words)
    assert "Repeats failed: 1 of trial 0." in words
    assert "only 2 different results" in words


def test_an_objective_that_ignores_its_seed_is_noticed():
    words = " ".join(_answer(MIN, [1.0, 2.0], [[1.0] * 3, [2.0] * 3], k=2).words)
    assert "doesn't use its seed" in words


def test_while_it_runs_it_says_how_many_are_to_come():
    answer = _answer(MIN, [1.0, 2.0], [[1.0], []], k=2)
    assert not answer.ended
    assert (answer.least, answer.most) == (3, 5)
    assert answer.words[-1] == "3 to 5 repeats are to come."


def test_nothing_to_say_without_results():
    assert _answer(MIN, [], []).words == ("No task of the study has a result that could be confirmed.",)
    assert _answer(MIN, [1.0], [[]]).words == ("No repeat has ended yet.",)
    assert _answer(MIN, [1.0], [[None, None]]).words == ("No repeat has a result yet; 2 failed.",)


def test_what_was_cut_short_says_nothing():
    study = StudyRecord(name="s", created_at=1.0, metrics=(MIN,))
    source = _task(MIN, 1.0, 0)
    found = repeat_id(source.record.id, 0)
    cut = _task(MIN, 99.0, id=found, status=Status.STOPPED, reason_class=Reason.STUDY_STOPPED)
    plan = ConfirmPlan(k=1, seeds=2, of=(source.record.id,))
    answer = confirmation_of(study, plan, {source.record.id: source}, {found: cut})
    assert answer.configurations[0].repeats == 0
    assert answer.least == 2


def test_ids_and_seeds_differ_by_task_repeat_and_try():
    ids = {repeat_id(source, r, t) for source in ("a", "b") for r in range(3) for t in range(3)}
    assert len(ids) == 18
    assert all(len(one) == 32 for one in ids)
    assert len({repeat_seed(source, r) for source in ("a", "b") for r in range(3)}) == 6
