"""Questions about studies with odd names, odd metrics, in odd folders, in all formats."""

from __future__ import annotations

import csv
import io
import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy

from tests.e2e.cli import Cli, folder_of, strict_json
from tests.e2e.harness import assert_nothing_left, started, wait_for

OBJECTIVES = """
import time

def quick(task, x):
    return x

def odd(task, x):
    print("größer …")
    for i, value in enumerate((float("inf"), x + 1, x)):
        task.report_scalar("seconds", "", value, i)
    task.report_scalar("acc[val]", "a:b", -x, 0)
    task.report_scalar("side", "", float("nan"), 0)
    task.upload_artifact("a [b]", {"x": x})

def ends_infinite(task, x):
    task.report_scalar("loss", "", float("inf"), 0)

def slow(task, x):
    for i in range(600):
        task.report_scalar("loss", "", x, i)
        print("epoch", i, flush=True)
        time.sleep(0.1)
"""

NAME = "a b/c:ü [/x] 100%"


@pytest.fixture
def cli(tmp_path: Path) -> Iterator[Cli]:
    # SQLAlchemy 2.0, the newest for Python 3.10, can't name a folder with ? or braces.
    old = sqlalchemy.__version__.startswith("2.0")
    folder = tmp_path / ("a #bc%20d [f]" if old else "a #b?c%20d{e} [f]")
    folder.mkdir()
    with folder_of(folder, OBJECTIVES) as found:
        yield found


def test_answers_about_odd_names(cli: Cli) -> None:
    metrics = [{"name": "seconds", "goal": "minimize"}, {"name": "acc[val]/a:b", "goal": "maximize"}]
    done = cli.start(
        cli.sweep(study={"name": NAME, "metric": metrics}, objective={"function": "obj:odd"}),
        "--format",
        "json",
    )
    assert done.returncode == 0, done.stderr
    events = [strict_json(line) for line in done.stdout.splitlines()]
    assert events[0]["study"] == events[-1]["study"] == NAME
    ended = {event["task_id"]: event for event in events if event["event"] == "ended"}
    assert len(ended) == 3
    assert all(event["status"] == "completed" for event in ended.values())
    # Everything of the study is where it was started, and nothing of it elsewhere.
    assert os.listdir(cli.folder.parent) == [cli.folder.name]
    assert {"optuna.db", "artifacts"} <= set(os.listdir(cli.folder / ".optuna-rq"))

    top = strict_json(cli("top", NAME, "--format", "json").stdout)
    assert top == events[-1]["top"]
    best = top[0]
    x = best["hyper_parameters"]["x"]
    assert (
        {event["task_id"]: event["hyper_parameters"] for event in events if event["event"] == "launched"}[
            best["task_id"]
        ]
        == {"x": x}
        == ended[best["task_id"]]["hyper_parameters"]
    )
    assert ended[best["task_id"]]["values"] == {"seconds": x, "acc[val]/a:b": -x}
    assert best["metrics"] == {
        "seconds": {"metric": "seconds", "variant": "", "value": x, "min_value": x, "max_value": x + 1},
        "acc[val]/a:b": {"metric": "acc[val]", "variant": "a:b", "value": -x, "min_value": -x, "max_value": -x},
    }  # fmt: skip
    assert set(cli.json("top", "--all-metrics")[0]["metrics"]) >= {"seconds", "acc[val]/a:b", "side"}

    tasks = strict_json(cli("tasks", "--format", "json").stdout)
    task = next(row for row in tasks if row["task_id"] == best["task_id"])
    # A metric called as one of our columns doesn't take its place.
    assert (task["metric/seconds"], task["acc[val]/a:b"]) == (x, -x)
    assert 0 <= task["seconds"] < 60
    rows = list(csv.DictReader(io.StringIO(cli("tasks", "--format", "csv").stdout)))
    assert [float(row["metric/seconds"]) for row in rows] == [row["metric/seconds"] for row in tasks]
    rows = list(csv.DictReader(io.StringIO(cli("top", "--format", "csv").stdout)))
    assert (rows[0]["task_id"], float(rows[0]["seconds"])) == (best["task_id"], x)
    trial = ended[best["task_id"]]["trial"]
    assert (rows[0]["rank"], int(rows[0]["trial"]), float(rows[0]["x"])) == ("1", trial, x)

    about = strict_json(cli("show", best["task_id"], "--format", "json").stdout)
    assert (about["study"], about["metrics"]["side"]["value"]) == (NAME, None)
    assert strict_json(cli("artifacts", "list", "--format", "json").stdout)[0]["name"] == "a [b]"
    status = strict_json(cli("status", "--format", "json").stdout)
    assert (status["study"], status["objectives"][1]) == (NAME, "maximize acc[val]/a:b")

    # For people: names are shown as they are, brackets included, also where a character can't be.
    for question, text in (
        (("status", NAME), f"study {NAME}: completed"),
        (("top",), f"Top 3 of study {NAME}"),
        (("tasks",), f"Tasks of study {NAME}"),
        (("show", best["task_id"]), "acc[val]/a:b"),
        (("artifacts", "list"), "a [b]"),
    ):
        shown = cli(*question)
        assert (shown.returncode, shown.stderr) == (0, ""), question
        assert text in shown.stdout, question
    plain = cli("status", PYTHONIOENCODING="ascii")
    assert (plain.returncode, plain.stderr) == (0, "")
    assert NAME.replace("ü", "?") in plain.stdout
    log = cli("logs", best["task_id"], PYTHONIOENCODING="ascii")
    assert (log.returncode, log.stdout) == (0, "gr??er ?\n")

    for question in ("tasks", "top --format json", "status", "logs " + best["task_id"]):
        piped = cli.in_shell(f"controller {question} | true")
        assert piped.stderr == "", question
    for question, lines in (
        ("status", 1),
        ("top", 1),
        ("tasks --format json", 1),
        ("show " + best["task_id"], 0),
    ):
        piped = cli.in_shell(f"controller {question} | head -{lines}; echo ${{PIPESTATUS[0]}}")
        # It may have written all before the reader went.
        assert (piped.stderr, piped.stdout.splitlines()[-1] in ("0", "141")) == ("", True), question
    assert_nothing_left(cli.folder)


def test_a_value_that_is_no_number_is_no_json(cli: Cli) -> None:
    done = cli.start(cli.sweep(objective={"function": "obj:ends_infinite"}), "--format", "json")
    assert done.returncode == 1
    events = [strict_json(line) for line in done.stdout.splitlines()]
    ended = [event for event in events if event["event"] == "ended"]
    assert [(event["value"], event["reason_class"]) for event in ended] == [(None, "invalid_value")] * 3
    assert (events[-1]["state"], events[-1]["top"]) == ("failed", [])
    assert [row["loss"] for row in strict_json(cli("tasks", "--format", "json").stdout)] == [None] * 3
    assert "no task has reported loss yet" in cli("top").stdout


def test_names_that_look_like_parts_of_each_other(cli: Cli) -> None:
    for name in ("s", "s:tasks"):
        done = cli.start(
            cli.sweep(
                study={"name": name, "metric": {"name": "loss", "goal": "minimize"}}, budget={"max_trials": 2}
            ),
            workers=1,
        )
        assert done.returncode == 0, (name, done.stderr)
    assert cli("delete", "s:tasks", "--yes").stdout == "study s:tasks: 2 task(s) removed\n"
    assert len(cli.json("top", "s")) == len(cli.json("tasks", "s")) == 2
    assert "there are: s\n" in cli("top", "s:tasks").stderr
    assert [trial.state.name for trial in cli.trials("s")] == ["COMPLETE"] * 2


def test_answers_while_a_study_runs(cli: Cli) -> None:
    file = cli.sweep(objective={"function": "obj:slow"})
    with started(
        "controller", "start", file, "--workers", "2", cwd=cli.folder, log=cli.folder / "log"
    ) as process:

        def ranked() -> list[dict[str, object]]:
            done = cli("top", "--format", "json")
            return list(strict_json(done.stdout)) if done.returncode == 0 else []

        best = wait_for(ranked, "a running task in the ranking")[0]
        assert best["status"] == "in_progress"
        assert cli.json("top", "--only-completed") == []
        status = cli.json("status")
        assert (status["state"], status["controller"].rsplit(":", 1)[1]) == ("running", str(process.pid))
        assert status["tasks"]["in_progress"] + status["tasks"]["queued"] == 3
        assert status["budget"]["jobs"]["limit"] == 3.0
        assert [worker["slots"] for worker in status["workers"]] == [1, 1]
        running = cli.json("tasks", "--status", "in_progress")
        assert best["task_id"] in [row["task_id"] for row in running]
        assert "epoch 0" in cli("logs", str(best["task_id"])).stdout
        assert (cli("delete", "s", "--yes").returncode, cli("delete", "s", "--yes").stdout) == (2, "")
        cli("stop")
        assert process.wait(60) == 0
    assert json.loads(cli("status", "--format", "json").stdout)["state"] == "stopped"
    assert_nothing_left(cli.folder)
