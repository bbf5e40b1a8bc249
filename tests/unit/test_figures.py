"""Figures of studies as values: what they show, how much of it, and that nothing in them is taken for markup."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from typing import Any

import pytest

from controller.figures import FIGURES, Options, applicable
from controller.figures.figure import plain
from controller.figures.space import dimensions
from controller.results.curves import Curve
from controller.results.study_data import StudyData, TaskData
from tests.study_data import LOSS, SIZE, study_data
from worker.protocol import Reason, Status
from worker.protocol.earlier_attempt import EarlierAttempt

pytestmark = pytest.mark.filterwarnings(
    "ignore::UserWarning", "ignore::optuna.exceptions.ExperimentalWarning"
)
HOSTILE = '</script><a href="https://evil.example">x</a> %{x} & <b>'
WEBGL = {"scattergl", "parcoords", "splom", "scatter3d", "surface", "heatmapgl"}
"""Kinds of traces that the page's policy refuses."""


@pytest.fixture(scope="module")
def one() -> StudyData:
    return study_data(60)


@pytest.fixture(scope="module")
def two() -> StudyData:
    return study_data(60, metrics=(LOSS, SIZE))


@pytest.fixture(scope="module")
def many() -> StudyData:
    return study_data(3_000, 40)


def points(drawn: dict[str, Any]) -> int:
    return sum(len(trace.get("x") or ()) for trace in drawn["data"])


def said(drawn: dict[str, Any]) -> str:
    """What an empty figure says."""
    assert drawn["data"] == []
    return str(drawn["layout"]["annotations"][0]["text"])


@pytest.mark.parametrize("name", FIGURES)
@pytest.mark.parametrize("trials", [0, 1, 2, 3, 60])
def test_every_figure_draws_studies_of_any_size_as_json_without_webgl(name: str, trials: int) -> None:
    data = study_data(trials, metrics=(LOSS, SIZE))
    drawn = FIGURES[name](data, Options(objective=1))
    assert json.loads(json.dumps(drawn, allow_nan=False)) == drawn
    assert {trace["type"] for trace in drawn["data"]}.isdisjoint(WEBGL)
    assert "template" not in drawn["layout"]
    if trials == 60:
        assert drawn["data"]
    if trials == 0:
        assert said(drawn)


def test_only_several_objectives_have_a_front(one: StudyData, two: StudyData) -> None:
    assert {f.name for f in applicable(two)} - {f.name for f in applicable(one)} == {"pareto", "hypervolume"}


def test_the_best_so_far_is_that_of_trials_that_rank(one: StudyData) -> None:
    trials, best = FIGURES["best"](one)["data"]
    failed = {t.record.trial for t in one.tasks if not t.ranks}
    assert failed
    assert failed.isdisjoint(trials["x"])
    assert best["y"] == sorted(best["y"], reverse=True)
    assert best["y"][-1] == pytest.approx(min(trials["y"]))
    assert best["x"][-1] == max(trials["x"])


def test_the_best_of_a_maximized_objective_rises(two: StudyData) -> None:
    best = FIGURES["best-over-time"](two, Options(objective=1))["data"][1]
    assert best["y"] == sorted(best["y"])
    assert best["x"] == sorted(best["x"])
    assert best["x"][0].startswith("2023-11-14 22:")


def test_a_histogram_counts_each_result_once(one: StudyData) -> None:
    (bars,) = FIGURES["values"](one)["data"]
    assert sum(bars["y"]) == len(one.ranked())


@pytest.mark.parametrize("value", [0.5, 1e308, -1e308, 5e-324])
def test_a_histogram_of_equal_or_huge_values(one: StudyData, value: float) -> None:
    tasks = tuple(
        replace(task, scalars={"loss": replace(task.scalars["loss"], last=value * sign)})
        for task, sign in zip(one.tasks, [1, 1, 1, -1] * 15, strict=True)
    )
    (bars,) = FIGURES["values"](replace(one, tasks=tasks))["data"]
    assert sum(bars["y"]) == len(one.ranked())


def test_few_curves_are_named_and_many_are_drawn_by_kind(one: StudyData) -> None:
    few = replace(one, curves={task_id: one.curves[task_id] for task_id in list(one.curves)[:6]})
    drawn = FIGURES["curves"](few)
    assert [trace["name"] for trace in drawn["data"]] == [
        "trial 0", "trial 1", "trial 2", "trial 3", "trial 4 (pruned)", "trial 5",
    ]  # fmt: skip
    assert [trace["line"]["dash"] for trace in drawn["data"]].count("dot") == 1
    assert drawn["layout"]["meta"]["tasks"]["4"] == f"{4:032x}"
    kinds = {trace["name"].split(" (")[0] for trace in FIGURES["curves"](one)["data"]}
    assert kinds == {"pruned", "failed", "completed", "running"}


def test_curves_over_time_begin_with_the_trial(one: StudyData) -> None:
    few = replace(one, curves={task_id: one.curves[task_id] for task_id in list(one.curves)[:2]})
    first = FIGURES["curves"](few, Options(by_time=True))["data"][0]
    assert (first["x"][0], first["x"][-1]) == (0.0, pytest.approx(40 / 60, abs=0.001))


def test_a_value_that_is_no_number_is_a_gap(one: StudyData) -> None:
    curve = Curve(iterations=[0, 1, 2], values=[1.0, math.nan, math.inf], times=[1.0, 2.0, 3.0])
    drawn = FIGURES["curves"](replace(one, curves={one.tasks[0].record.id: {"loss": curve}}))
    assert drawn["data"][0]["y"] == [1.0, None, None]


@pytest.mark.parametrize(("name", "most"), [("curves", 21_000), ("best", 11_000), ("timeline", 12_000),
                                           ("parallel", 5_000), ("slices", 6_100), ("rank", 2_100)])  # fmt: skip
def test_a_figure_of_a_large_study_is_small(many: StudyData, name: str, most: int) -> None:
    drawn = FIGURES[name](many)
    assert 500 < points(drawn) <= most
    if name not in ("best", "timeline"):
        meta = drawn["layout"]["meta"]
        assert meta["shown"] < meta["of"]


def test_a_contour_of_a_large_study_has_few_cells(many: StudyData) -> None:
    contour = next(
        t
        for t in FIGURES["contour"](many, Options(parameters=("lr", "layers")))["data"]
        if t["type"] == "contour"
    )
    assert len(contour["z"]) * len(contour["z"][0]) <= 30 * 30
    values = [value for row in contour["z"] for value in row if value is not None]
    assert min(values) == pytest.approx(min(task.value(LOSS) or 9.0 for task in many.ranked()
                                            if task.record.reason_class is None))  # fmt: skip


def test_importances_name_what_matters(one: StudyData, two: StudyData) -> None:
    (bars,) = FIGURES["importances"](one)["data"]
    assert sum(bars["x"]) == pytest.approx(1.0, abs=0.001)
    names = FIGURES["importances"](one)["layout"]["yaxis"]["ticktext"]
    assert set(names) == {"lr", "layers", "optimizer"}
    # The second objective grows with the layers; a maximum is looked for as a maximum.
    found = FIGURES["importances"](two, Options(objective=1))
    assert found["layout"]["yaxis"]["ticktext"][-1] == "layers"


def test_slices_are_of_the_chosen_parameters_only(one: StudyData) -> None:
    drawn = FIGURES["slices"](one, Options(parameters=("layers", "nothing")))
    assert drawn["layout"]["xaxis"]["title"]["text"] == "layers"
    assert len(drawn["data"]) == 1
    assert FIGURES["contour"](one, Options(parameters=("layers",)))["data"] == []


@pytest.mark.parametrize(("name", "x"), [("slices", "layers"), ("rank", "layers"), ("hypervolume", "")])
def test_points_that_optuna_draws_know_their_trial(two: StudyData, name: str, x: str) -> None:
    """Pruned and failed trials are left out: Optuna's own numbers are others."""
    drawn = FIGURES[name](two, Options(parameters=("layers", "optimizer")))
    trace = drawn["data"][0]
    layers = {task.record.trial: task.record.spec.parameters["layers"] for task in two.tasks}
    assert len(trace["customdata"]) == len(trace["x"])
    assert max(trace["customdata"]) > len(trace["x"])
    for trial, value in zip(trace["customdata"], trace["x"], strict=True):
        assert value == (layers[trial] if x else trial)


def test_slices_stand_in_rows_of_four(one: StudyData) -> None:
    data = study_data(60, 2, **{f"p{i}": 1.5 for i in range(3)})
    tasks = tuple(
        replace(t, record=replace(t.record, spec=replace(t.record.spec, parameters={**t.record.spec.parameters,
                **{f"p{i}": (t.record.trial * (i + 3)) % 17 for i in range(3)}})))
        for t in data.tasks
    )  # fmt: skip
    layout = FIGURES["slices"](replace(data, tasks=tasks))["layout"]
    assert layout["xaxis"]["domain"][0] == layout["xaxis5"]["domain"][0]
    assert layout["yaxis"]["domain"][0] > layout["yaxis5"]["domain"][1]
    assert "width" not in layout


def test_a_page_can_choose_ranges_of_axes() -> None:
    data = study_data(30, opt="</b>", status=3, shape=[1, 2])
    drawn = FIGURES["parallel"](data)
    axes = {axis["name"]: axis for axis in drawn["layout"]["meta"]["axes"]}
    lines = [trace["x"].count(None) * (len(axes) + 1) for trace in drawn["data"]]
    assert [len(trace["x"]) for trace in drawn["data"]] == lines, "an axis for each point of a line"
    assert list(axes)[-1] == "loss"
    assert (axes["opt"]["categories"], axes["opt"]["literals"]) == (["</b>"], ['"</b>"'])
    assert axes["status"]["column"] == "parameter/status", "the table has a column of its own of that name"
    assert axes["shape"]["literals"] == [None]
    assert axes["lr"]["log"]
    assert axes["lr"]["low"] < axes["lr"]["high"]


def test_a_parallel_line_passes_below_what_a_trial_has_not(one: StudyData) -> None:
    first = one.tasks[0]
    spec = replace(first.record.spec, parameters={"lr": 0.01}, searched=("lr",))
    data = replace(one, tasks=(replace(first, record=replace(first.record, spec=spec)), *one.tasks[1:]))
    drawn = FIGURES["parallel"](data)
    ((trace, place),) = [(t, t["customdata"].index(0)) for t in drawn["data"] if 0 in t["customdata"]]
    line = trace["y"][place : place + 4]
    assert drawn["layout"]["xaxis"]["ticktext"] == ["layers", "lr", "optimizer", "loss"]
    assert (line[0] < 0, 0 <= line[1] <= 1, line[2] < 0) == (True, True, True)


def test_the_pareto_front_is_marked(two: StudyData) -> None:
    others, front = FIGURES["pareto"](two)["data"]
    assert len(others["x"]) + len(front["x"]) == len(two.ranked())
    best = set(zip(front["x"], front["y"], strict=True))
    for x, y in zip(others["x"], others["y"], strict=True):
        assert any(a <= x and b >= y for a, b in best)


def test_the_hypervolume_never_shrinks(two: StudyData) -> None:
    (line,) = FIGURES["hypervolume"](two)["data"]
    assert line["y"] == sorted(line["y"])
    assert line["y"][-1] > 0


def test_the_timeline_has_each_slot_and_what_became_of_attempts(one: StudyData) -> None:
    task = one.tasks[1]
    earlier = (
        EarlierAttempt(attempt=1, worker="gone/0", started_at=task.record.created_at, ended_at=task.record.created_at + 5,
                       handed_back=False, reason="worker gone/0 was lost"),
        EarlierAttempt(attempt=2, worker="node0/0", started_at=task.record.created_at + 6, ended_at=task.record.created_at + 9,
                       handed_back=True, reason="handed back by worker node0/0, which was shutting down"),
        EarlierAttempt(attempt=3, worker="node0/0", started_at=task.record.created_at + 10, ended_at=task.record.created_at + 19,
                       handed_back=False, reason="objective_error: exit code 3; tried again"),
    )  # fmt: skip
    changed = replace(task, record=replace(task.record, earlier=earlier, attempt=4))
    drawn = FIGURES["timeline"](replace(one, tasks=(one.tasks[0], changed, *one.tasks[2:])))
    by_name = {trace["name"]: trace for trace in drawn["data"]}
    assert set(by_name) == {"completed", "pruned", "failed", "running", "lost", "handed back", "tried again"}
    assert drawn["layout"]["yaxis"]["ticktext"] == ["gone/0", "node0/0", "node0/1", "node1/0", "node1/1"]
    assert by_name["lost"]["y"] == [0, 0, None]
    assert by_name["lost"]["text"][0] == "trial 1, lost after 5 s: worker gone/0 was lost"
    assert by_name["running"]["customdata"][0] == 59


def test_a_task_that_nobody_ran_is_not_on_the_timeline(one: StudyData) -> None:
    waiting = replace(one.tasks[0].record, status=Status.QUEUED, worker="", started_at=None, ended_at=None)
    stopped = replace(waiting, status=Status.STOPPED, reason_class=Reason.USER, ended_at=9.0)
    data = replace(one, tasks=(TaskData(record=waiting), TaskData(record=stopped)))
    assert said(FIGURES["timeline"](data)) == "no trial has begun yet"


@pytest.mark.parametrize("name", FIGURES)
def test_what_a_program_wrote_is_text(name: str) -> None:
    """Plotly makes links of ``<a>`` and loads nothing, but a name is to be seen as it is."""
    metrics = tuple(replace(metric, title=f"{HOSTILE}{i}") for i, metric in enumerate((LOSS, SIZE)))
    data = study_data(40, 2, metrics=metrics, **{HOSTILE: HOSTILE})
    tasks = tuple(
        replace(task, record=replace(task.record, worker=f"{HOSTILE}/0", reason=HOSTILE,
                spec=replace(task.record.spec, parameters={**task.record.spec.parameters,
                                                           HOSTILE: f"{HOSTILE}{task.record.trial % 2}"})))
        for task in data.tasks
    )  # fmt: skip
    drawn = FIGURES[name](replace(data, tasks=tasks), Options(parameters=(HOSTILE, "lr")))
    assert drawn["data"]
    drawn["layout"].pop("meta", None)  # Plotly shows nothing of it; the page's script does, as text
    assert "<a" not in json.dumps(drawn)
    assert "</script" not in json.dumps(drawn)


def test_long_texts_are_cut_and_escaped() -> None:
    assert plain("a<b>&") == "a&lt;b&gt;&amp;"
    assert plain("x" * 500) == "x" * 119 + "…"


@pytest.mark.parametrize(
    ("values", "described", "expected"),
    [
        ([1, 2, 3], {}, {"whole": True, "low": 1.0, "high": 3.0}),
        ([1e-5, 0.1], {}, {"log": True}),
        ([1e-5, 0.1], {"log": False}, {"log": False}),
        ([16, 64], {"choices": [64, 32, 16]}, {"categories": ("64", "16")}),
        ([True, False], {}, {"categories": ("False", "True")}),
        (["a", None], {}, {"categories": ("None", "a")}),
        ([2**60, 1], {}, {"whole": False}),
        ([1e308, -1e308], {}, {"log": False}),
        ([0.0, 5.0], {"log": True}, {"log": False}),
        ([[1, 2], [3]], {}, {}),
    ],
)  # fmt: skip
def test_dimensions_are_what_the_values_say(
    values: list[Any], described: dict[str, Any], expected: dict[str, Any]
) -> None:
    (found,) = dimensions({"parameters": {"p": described}}, [{"p": value} for value in values])
    assert {name: getattr(found, name) for name in expected} == expected
    assert all(0 <= found.place(value) <= 1 for value in values)


@pytest.mark.parametrize(
    "sweep", [{}, {"parameters": 3}, {"parameters": {"p": 7}}, {"parameters": {"p": {"choices": 3}}}]
)
def test_a_description_that_is_none_is_passed_over(sweep: dict[str, Any]) -> None:
    assert dimensions(sweep, [{"p": 1}, {"p": 2}])[0].name == "p"
