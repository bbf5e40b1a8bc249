"""What `controller start` prints: on a terminal, into a log, for programs, and when nobody reads it any more."""

from __future__ import annotations

import contextlib
import io
import json
import logging
import re
import sys
from types import SimpleNamespace
from typing import Any

import fakeredis
import pytest
from rich.console import Console

from controller.commands import pipes
from controller.commands.tables import may_redraw
from controller.commands.view import JsonView, RichView
from controller.health.metrics import Meter
from controller.loop.budget import Budget
from controller.screen.grouping import LOG
from controller.search.objective import Objective
from controller.session.printing import LinesView, View
from tests.fakes import record
from tests.heads import Head
from tests.servers import free_port
from worker.process.logs import CurrentStderr
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


def test_many_short_trials_share_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    for view, stream in views(monkeypatch):
        view.begin(search(ONE))
        for number in range(1000):
            view.ended(job(number, {"x": 0.5}, {"loss": 1000.0 - number}))
        view.end()
        *single, last = stream.getvalue().splitlines()[1:]
        assert [int(line.split()[1]) for line in single] == list(range(LOG.burst))
        assert last == (
            f"… {1000 - LOG.burst} trials ended ({LOG.burst} to 999): {1000 - LOG.burst} completed · 1000 ended "
            "· 0 running · best 1 (trial 999)"
        )


def test_for_programs_nothing_is_grouped(capsys: pytest.CaptureFixture[str]) -> None:
    view = JsonView()
    view.begin(search(ONE))
    for number in range(1000):
        view.ended(job(number, {}, {"loss": 0.5}))
    view.end()
    events = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [event["trial"] for event in events if event["event"] == "ended"] == list(range(1000))


def test_a_log_that_is_told_to_have_colors_gets_lines() -> None:
    stream = io.StringIO()
    view = RichView(
        Console(file=stream, width=240, force_terminal=True, force_interactive=False, highlight=False)
    )
    view.begin(search(ONE))
    view.ended(job(0, {"x": 0.5}, {"loss": 0.5}))
    view.end()
    text = stream.getvalue()
    assert "\x1b[32mcompleted" in text
    assert not re.search(r"\x1b\[[0-9?]*[A-Zhl]", text)  # no cursor is moved
    assert len(text.splitlines()) == 2


class Tty(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(
    ("stream", "environment", "redraws"),
    [
        (Tty(), {}, True),
        (io.StringIO(), {}, False),
        (io.StringIO(), {"FORCE_COLOR": "1"}, False),
        (Tty(), {"CI": "true"}, False),
        (Tty(), {"CI": "true", "TTY_INTERACTIVE": "1"}, True),
        (Tty(), {"TTY_INTERACTIVE": "0"}, False),
        (Tty(), {"TERM": "xterm-color", "JPY_PARENT_PID": "7"}, False),  # below a cell
        (Tty(), {"TERM": "xterm", "JPY_PARENT_PID": "7"}, True),  # a terminal of Jupyter's
    ],
)
def test_where_something_may_be_drawn_again(stream: Any, environment: dict[str, str], redraws: bool) -> None:
    assert may_redraw(stream, environment) == redraws


def test_a_warning_appears_above_the_live_view(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = Tty()
    monkeypatch.setattr(sys, "stderr", Tty())
    view = RichView(Console(file=stream, width=80, force_terminal=True, color_system=None))
    handler = CurrentStderr()
    logger = logging.Logger("theirs")
    logger.addHandler(handler)
    view.begin(search(ONE))
    logger.warning("a disk is full")
    view.end()
    logger.warning("afterwards")
    assert "a disk is full\n" in stream.getvalue()
    assert sys.stderr.getvalue() == "afterwards\n"  # type: ignore[attr-defined] # ours


def test_earlier_trials_count_when_a_study_goes_on() -> None:
    about = search(ONE)
    head = Head(about.backend.store)
    head.done(0, 0.25)
    stopped = head.run(1, 9.0)
    head.finish(stopped, Status.STOPPED, Reason.PRUNED)
    view = RichView(Console(file=io.StringIO(), width=80))
    view.begin(about)
    for known in about.backend.store.tasks.get_many(about.backend.store.studies.tasks("s")):
        view.known(known)
    view.ended(job(2, {"x": 0.5}, {"loss": 0.5}))
    again = job(1, {"x": 0.5}, {"loss": 9.0}, id=stopped.id, status=Status.STOPPED)
    view.ended(again)  # had ended before, and was not told yet
    frame = view.following.frame()
    assert frame.progress() == "3 ended · 0 running · best 0.25 (trial 0)"
    assert (frame.counts[Status.COMPLETED], frame.counts[Status.STOPPED]) == (2, 1)


def test_what_the_loop_waits_for_is_shown() -> None:
    view = RichView(Console(file=io.StringIO(), width=80))
    view.begin(search(ONE))
    with contextlib.closing(Meter(str(free_port()), "s", view)) as meter:
        for observer in (view, meter):
            observer.heartbeat("Redis")
            assert view.following.frame().waits_for == "Redis"
            observer.heartbeat()
            assert view.following.frame().waits_for == ""


def test_earlier_trials_that_cannot_be_read_end_no_study() -> None:
    about = search(ONE)
    Head(about.backend.store).done(0, 0.25)
    about.backend.store.redis.hset("orq:study:s", "v", 99)  # by a newer version
    view = RichView(Console(file=io.StringIO(), width=80))
    view.begin(about)
    view.ended(job(2, {"x": 0.5}, {"loss": 0.5}))
    assert view.following.frame().progress() == "1 ended · 0 running · best 0.5 (trial 2)"


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
