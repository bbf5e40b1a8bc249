"""`controller watch`: a study followed from any machine, on terminals of any width, in pipes, and for programs."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.cli import Cli, folder_of
from tests.e2e.harness import run, started, wait_for
from tests.e2e.test_terminal import NAMES
from tests.fakes import LOSS
from tests.heads import Head
from tests.redisserver import RedisServer
from tests.terminal import CTRL_C, at_terminal, widest
from worker.protocol import Reason, Status, Store, StudyState, TaskSpec, keys
from worker.protocol.connection import connect

WIDE = "大規模な研究🧪" * 6
OBJECTIVES = """
import pathlib, time

def train(task, **parameters):
    for step in range(3):
        task.report_scalar("loss", "", parameters["optimizer_learning_rate"] + step, step)
    while not pathlib.Path("go").exists():
        time.sleep(0.02)
"""


@pytest.fixture(scope="module")
def server() -> Iterator[RedisServer]:
    with RedisServer(appendonly=True) as found:
        yield found


@pytest.fixture
def cli(tmp_path: Path) -> Iterator[Cli]:
    with folder_of(tmp_path, OBJECTIVES) as found:
        yield found


def head_of(server: RedisServer, study: str) -> Head:
    return Head(Store(connect(server.url(), patience_s=30)), study)


def spec(**parameters: Any) -> TaskSpec:
    return TaskSpec(objective={"kind": "function", "target": "m:f"}, parameters=parameters, metrics=(LOSS,))


def end(head: Head, state: str = StudyState.COMPLETED) -> None:
    head.save(state=state, reason="all 3 trials created", ended_at=9.0)
    head.store.redis.delete(keys.study_lock(head.study))


@pytest.mark.parametrize("width", [40, 100])
def test_a_study_is_followed_to_its_end(server: RedisServer, tmp_path: Path, width: int) -> None:
    head = head_of(server, f"{WIDE}{width}")
    parameters = dict.fromkeys(NAMES, 0.125)
    first = head.run(0, 3.0, 2.0, spec=spec(**parameters))
    with at_terminal(tmp_path, "watch", head.study, width=width, REDIS_URL=server.url()) as terminal:
        terminal.wait_for(lambda: "0 ended · 1 running" in terminal.text(), "the first frame")
        assert re.search(r"^ +trial +iteration +value.*\n +0 +1 +2", terminal.text(), re.MULTILINE)
        head.finish(first)
        head.run(1, 5.0)
        terminal.wait_for(lambda: "best 2 (trial 0)" in terminal.text(), "the best trial")
        lines = terminal.lines()
        place = lines.index("best 2 (trial 0)")
        shown = [word for line in lines[place + 1 : place + 11] for word in line.split()]
        assert {f"{name}=0.125" for name in NAMES} <= set(shown)
        if width == 40:  # one below the other
            assert [line.strip() for line in lines[place + 1 : place + 11]] == [
                f"{name}=0.125" for name in NAMES
            ]
        assert widest(lines) <= width
        end(head)
        assert terminal.wait() == 0
        # The frame is gone; lines of ended trials and the summary stay.
        text = terminal.text()
        assert "running" not in text
        assert len(re.findall(r"^trial +0 completed", text, re.MULTILINE)) == 1
        assert "completed: all 3 trials created" in text.replace("\n", " ")
        assert terminal.raw.endswith("\n")
        assert terminal.raw.count("\x1b[?25h") == 1  # the cursor is back


def test_ctrl_c_is_quiet(server: RedisServer, tmp_path: Path) -> None:
    head = head_of(server, "quiet")
    head.run(0, 3.0)
    with at_terminal(tmp_path, "watch", "quiet", REDIS_URL=server.url()) as terminal:
        terminal.wait_for(lambda: "1 running" in terminal.text(), "the first frame")
        terminal.press(CTRL_C)
        assert terminal.wait() == 130
        left = [line for line in terminal.lines() if line]
        assert left == ["study quiet: minimize loss · queue default"]
        assert terminal.raw.count("\x1b[?25h") == 1


def test_a_redis_that_is_away_is_said_and_waited_for(tmp_path: Path) -> None:
    with RedisServer(appendonly=True) as own:
        head = head_of(own, "s")
        task = head.run(0, 3.0)
        with at_terminal(tmp_path, "watch", REDIS_URL=own.url()) as terminal:
            terminal.wait_for(lambda: "1 running" in terminal.text(), "the first frame")
            own.kill()
            terminal.wait_for(lambda: "waits for Redis" in terminal.text(), "what it waits for")
            assert terminal.text().count("· Redis is away") == 1
            own.start()
            terminal.wait_for(lambda: "· Redis is back" in terminal.text(), "its return")
            head.finish(task)
            end(head)
            assert terminal.wait() == 0
            assert "trial    0 completed 3" in terminal.text()
            assert "Traceback" not in terminal.raw


def test_programs_get_a_line_for_each_change(server: RedisServer, tmp_path: Path) -> None:
    head = head_of(server, "json")
    head.done(0, 4.0)
    task = head.run(1, 3.0)
    log = tmp_path / "log"

    def events() -> list[dict[str, Any]]:
        return [json.loads(line) for line in log.read_text().splitlines()]

    def kinds(name: str) -> list[Any]:
        return [event["trial"] for event in events() if event["event"] == name]

    with started(
        "controller", "watch", "json", "--format", "json", cwd=tmp_path, log=log, REDIS_URL=server.url()
    ) as process:
        wait_for(lambda: log.exists() and kinds("reported"), "the first line")
        head.report(task, 2.0, seq=2)
        wait_for(lambda: len(kinds("reported")) == 2, "the second report")
        head.finish(task, Status.STOPPED, Reason.PRUNED)
        for trial in range(2, 60):  # nothing is grouped
            head.done(trial, 5.0)
        wait_for(lambda: len(kinds("ended")) == 59, "their ends")
        end(head, StudyState.FAILED)
        assert process.wait(30) == 1
    first, *_, state, last = events()
    assert (first["event"], first["state"], first["counts"]["completed"]) == ("study", "running", 1)
    assert first["best"][0]["values"] == {"loss": 4.0}
    assert kinds("started") == [1, *range(2, 60)]
    assert kinds("launched") == list(range(2, 60))
    assert kinds("ended") == list(range(1, 60))
    reported = [event for event in events() if event["event"] == "reported"]
    assert [(event["value"], event["iteration"]) for event in reported] == [(3.0, 0), (2.0, 1)]
    ended = next(event for event in events() if event["event"] == "ended")
    assert (ended["status"], ended["reason_class"], ended["value"]) == ("stopped", "pruned", 2.0)
    assert (state["event"], state["state"]) == ("study", "failed")
    assert (last["event"], last["state"], last["top"][0]["metrics"]["loss"]["value"]) == (
        "end",
        "failed",
        2.0,
    )


def test_a_log_is_not_flooded_and_lacks_nothing(server: RedisServer, tmp_path: Path) -> None:
    head = head_of(server, "many")
    log = tmp_path / "log"
    with started("controller", "watch", "many", cwd=tmp_path, log=log, REDIS_URL=server.url()) as process:
        wait_for(lambda: log.exists() and "running · 0 ended" in log.read_text(), "the first line")
        for trial in range(200):
            head.done(trial, 300.0 - trial)
        end(head)
        assert process.wait(30) == 0
    lines = log.read_text().splitlines()
    single = [line for line in lines if line.startswith("trial ")]
    groups = [re.match(r"… (\d+) trials ended .*: \d+ completed · ", line) for line in lines]
    grouped = [int(found[1]) for found in groups if found]
    assert len(single) + sum(grouped) == 200
    assert 40 <= len(single) < 60
    assert any(line.startswith("… ") and "best 101 (trial 199)" in line for line in lines)
    assert "\x1b" not in log.read_text()


def test_what_has_ended_is_shown_at_once_and_what_is_not_there_is_refused(
    server: RedisServer, tmp_path: Path
) -> None:
    head = head_of(server, "over")
    head.done(0, 4.0)
    end(head)
    done = run("controller", "watch", "over", cwd=tmp_path, REDIS_URL=server.url())
    assert (done.returncode, done.stderr) == (0, "")
    assert "study over completed: all 3 trials created (1 completed)" in done.stdout
    done = run("controller", "watch", "nosuch", cwd=tmp_path, REDIS_URL=server.url())
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("controller: no study 'nosuch' in this Redis; there are: ")


def test_start_and_watch_show_the_same(cli: Cli) -> None:
    spaces = {name: {"type": "float", "low": 0.0, "high": 1.0} for name in NAMES}
    sweep = cli.sweep(
        study={"name": WIDE, "metric": {"name": "loss", "goal": "minimize"}},
        objective={"function": "obj:train"},
        parameters=spaces,
        budget={"max_trials": 3, "max_concurrent": 1},
    )

    def frame_of(text: str) -> list[str]:
        """The lines of the frame, without times and what a look a second later may differ in."""
        lines = text.splitlines()
        start = max(place for place, line in enumerate(lines) if re.search("running · [0-9]", line))
        return [re.sub(r"\d+ s\b.*|\d+ queued", "", line).rstrip(" ·") for line in lines[start + 1 :]]

    with at_terminal(cli.folder, "start", sweep, "--workers", "1", width=40, height=30) as start:
        start.wait_for(
            lambda: re.search(r"^ +0 +2 +\d", start.text(), re.MULTILINE), "the first trial's values"
        )
        with at_terminal(cli.folder, "watch", width=40, height=30) as watch:
            watch.wait_for(lambda: re.search(r"^ +0 +2 +\d", watch.text(), re.MULTILINE), "the same")
            watch.wait_for(lambda: "budget: 1 of 3 trials" in watch.text(), "the budget")
            start.wait_for(lambda: frame_of(watch.text()) == frame_of(start.text()), "the same")
            watch.press(CTRL_C)
            assert watch.wait() == 130
        (cli.folder / "go").touch()
        assert start.wait() == 0
        text = start.text()
        assert [int(number) for number in re.findall(r"^trial +(\d+) completed", text, re.MULTILINE)] == [
            0,
            1,
            2,
        ]
        assert "1 running" not in text
