"""What `controller start` prints: on a terminal, into a log, for programs, and when nobody reads it any more."""

from __future__ import annotations

import io
import json
import sys
from types import SimpleNamespace
from typing import Any

import fakeredis
import pytest
from rich.console import Console

from controller.commands import pipes
from controller.commands.view import JsonView, RichView
from controller.loop.budget import Budget
from controller.search.objective import Objective
from controller.session.printing import LinesView, View
from tests.fakes import record
from worker.protocol import Reason, Status, Store, Summary, TaskRecord, TaskSpec

TWO = Objective(["loss", "size"], ["", "mib"], ["min", "min"])
ONE = Objective("loss", "", "min")
LONG = "transformer-finetuning-large-scale-ablation"


def search(objective: Objective, name: str = "s") -> Any:
    home = SimpleNamespace(embedded=None, redis_url="redis://head:6379/0")
    store = Store(fakeredis.FakeRedis(decode_responses=True))
    return SimpleNamespace(
        study=name, queue="default", objective=objective, budget=Budget(10), status="running",
        backend=SimpleNamespace(home=home, artifacts_url="file:///a", store=store),
    )  # fmt: skip


def job(number: int, parameters: dict[str, Any], values: dict[str, float], **changes: Any) -> Any:
    """A job whose task completed, unless `changes` of its record say otherwise."""
    made: TaskRecord = record(**{"trial": number, "status": Status.COMPLETED, "compute_s": 2.25, **changes})
    scalars = {key: Summary.of(*key.partition("/")[::2]).add(value, 0) for key, value in values.items()}
    return SimpleNamespace(
        trial=number, parameters=parameters, record=made, scalars=scalars, task_id=lambda: made.id,
        worker=lambda: "node/0", is_running=lambda: True, computed_s=lambda: 1.0,
    )  # fmt: skip


OPTUNAS = TaskSpec(objective={"kind": "optuna"}, parameters={"kind": "a", "x": 0.125})


def views(monkeypatch: pytest.MonkeyPatch) -> list[tuple[View, io.StringIO]]:
    """Those that print lines into a file."""
    plain, rich = io.StringIO(), io.StringIO()
    monkeypatch.setattr(sys, "stdout", plain)
    return [(LinesView(), plain), (RichView(Console(file=rich, width=240, highlight=False)), rich)]


def test_each_objective_has_its_value_in_the_live_line(monkeypatch: pytest.MonkeyPatch) -> None:
    for view, stream in views(monkeypatch):
        view.begin(search(TWO))
        view.ended(job(0, {"x": 0.5}, {"loss": 0.5, "size/mib": 12.0}))
        view.ended(job(1, {"x": 0.25}, {"loss": 0.25}))
        lines = stream.getvalue().splitlines()
        assert lines[1].split() == ["trial", "0", "completed", "loss=0.5", "size/mib=12", "2.2", "s", "x=0.5"]
        assert lines[2].split() == [
            "trial",
            "1",
            "completed",
            "loss=0.25",
            "size/mib=-",
            "2.2",
            "s",
            "x=0.25",
        ]


def test_what_an_objective_of_optunas_asked_for_is_in_the_live_line(monkeypatch: pytest.MonkeyPatch) -> None:
    for view, stream in views(monkeypatch):
        view.begin(search(ONE))
        view.ended(job(3, {}, {"loss": 0.5}, spec=OPTUNAS))
        line = stream.getvalue().splitlines()[1].split()
        assert line == ["trial", "3", "completed", "0.5", "2.2", "s", "kind=a", "x=0.125"]


def test_a_log_is_not_silent_until_a_trial_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    for view, stream in views(monkeypatch):
        view.begin(search(ONE))
        view.started(job(0, {"x": 0.5}, {}))
        view.started(job(1, {"x": 0.25}, {}))
        assert stream.getvalue().splitlines()[1:] == ["… trial 0 started on node/0  x=0.5"]


def test_the_live_view_counts_what_has_ended_at_once() -> None:
    stream = io.StringIO()
    screen = Console(file=stream, width=80, force_terminal=True, color_system=None)
    view = RichView(screen)
    view.begin(search(ONE, LONG))
    jobs = [job(number, {"x": 0.5}, {"loss": 4.0 - number}) for number in range(4)]
    for one in jobs:
        view.started(one)
    assert view.following.frame().progress() == "0 ended · 4 running"
    for one in jobs[:3]:
        view.ended(one)
    assert view.following.frame().progress() == "3 ended · 1 running · best 2 (trial 2)"
    view.end()
    text = stream.getvalue()
    # It ends with the last frame, which is then wiped.
    last = text[text.rindex("3 ended · 1 running") :]
    assert "best 2 (trial 2)\n  x=0.5" in last
    assert [line.split()[1] for line in text.splitlines() if "completed" in line] == ["0", "1", "2"]


def test_a_terminals_lines_are_broken_between_parameters() -> None:
    names = {f"a_rather_long_name_of_a_parameter_{number}": 0.25 for number in range(6)}
    stream = io.StringIO()
    view = RichView(Console(file=stream, width=80, force_terminal=True, color_system=None))
    view.begin(search(ONE))
    view.ended(job(0, names, {"loss": 0.5}))
    view.end()
    words = stream.getvalue().split()
    assert all(f"{name}=0.25" in words for name in names)
    log = io.StringIO()
    plain = RichView(Console(file=log, width=80))
    plain.begin(search(ONE))
    plain.ended(job(0, names, {"loss": 0.5}))
    assert len(log.getvalue().splitlines()) == 2


def test_programs_get_all_values_and_the_users_names(capsys: pytest.CaptureFixture[str]) -> None:
    view = JsonView()
    view.begin(search(TWO))
    view.launched(job(0, {"x": 0.5}, {}))
    view.ended(job(0, {"x": 0.5}, {"loss": 0.5, "size/mib": 12.0}))
    view.ended(job(1, {}, {"loss": 0.25}, spec=OPTUNAS))
    _, launched, first, second = map(json.loads, capsys.readouterr().out.splitlines())
    assert launched["hyper_parameters"] == first["hyper_parameters"] == {"x": 0.5}
    assert (first["value"], first["values"]) == (0.5, {"loss": 0.5, "size/mib": 12.0})
    assert second["values"] == {"loss": 0.25, "size/mib": None}
    assert second["hyper_parameters"] == {"kind": "a", "x": 0.125}


def test_a_reason_without_words_is_its_class(monkeypatch: pytest.MonkeyPatch) -> None:
    for view, stream in views(monkeypatch):
        view.begin(search(ONE))
        view.ended(job(0, {}, {}, status=Status.STOPPED, reason_class=Reason.PRUNED, reason="given up"))
        assert stream.getvalue().rstrip().endswith("pruned: given up")


class Gone(io.StringIO):
    """A pipe whose reader has gone."""

    def write(self, text: str) -> int:
        raise BrokenPipeError


class Screen(Console):
    def on_broken_pipe(self) -> None:
        raise BrokenPipeError


@pytest.mark.parametrize("kind", ["rich", "json"])
def test_a_study_that_nobody_reads_ends_as_by_ctrl_c(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    output = pipes.Output()
    monkeypatch.setattr(pipes, "OUTPUT", output)
    monkeypatch.setattr(sys, "stdout", Gone())
    view: View = JsonView() if kind == "json" else RichView(Screen(file=Gone()))
    with pytest.raises(KeyboardInterrupt):
        view.note("x")
    assert output.closed
