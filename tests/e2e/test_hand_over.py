"""A controller that is replaced while trials run, and one that begins before its servers do."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.cli import Cli, folder_of
from tests.e2e.harness import assert_nothing_left, started, wait_for
from tests.redisserver import RedisServer
from tests.s3server import S3Server
from tests.servers import free_port

OBJECTIVES = """
import os, time

def train(task, x):
    '''Runs until there is a file "free".'''
    i = 0
    while not os.path.exists("free"):
        task.report_scalar("loss", "", float(x), i)
        i += 1
        time.sleep(0.05)
    return float(x)

def quick(task, x):
    return float(x)
"""


@pytest.fixture
def cli(tmp_path: Path) -> Iterator[Cli]:
    with folder_of(tmp_path, OBJECTIVES) as found:
        yield found


def attempts(cli: Cli, **env: str) -> list[tuple[str, int]]:
    """Status and attempt of each task, by trial."""
    rows = cli.json("tasks", **env)
    return [(row["status"], row["attempt"]) for row in sorted(rows, key=lambda row: row["trial"])]


def complete(cli: Cli) -> list[str]:
    return [trial.state.name for trial in cli.trials()]


def test_trials_go_on_while_a_controller_is_replaced(cli: Cli, redis_url: str) -> None:
    env = {"REDIS_URL": redis_url}
    sweep = cli.sweep(
        objective={"function": "obj:train"},
        budget={"max_trials": 3, "max_concurrent": 2},
        sampler={"seed": 1},
    )
    command = ("controller", "start", sweep, "--hand-over")
    logs = [cli.folder / name for name in ("one", "two")]
    with (
        started("worker", "--slots", "2", cwd=cli.folder, log=cli.folder / "worker", **env),
        started(*command, cwd=cli.folder, log=logs[0], **env) as first,
    ):
        wait_for(lambda: "study s" in logs[0].read_text() and attempts(cli, **env), "the study")
        wait_for(lambda: attempts(cli, **env) == [("in_progress", 1)] * 2, "two running trials")
        first.send_signal(signal.SIGTERM)
        assert first.wait(30) == 130
        said = logs[0].read_text()
        assert "2 task(s) are left to go on; the next start takes them up" in said
        assert "study s interrupted: handed over" in said
        assert "Traceback" not in said
        status = cli.json("status", **env)
        assert (status["state"], status["controller"]) == ("interrupted", "")
        assert attempts(cli, **env) == [("in_progress", 1)] * 2
        with started(*command, cwd=cli.folder, log=logs[1], **env) as second:
            wait_for(lambda: cli.json("status", **env)["state"] == "running", "the next controller")
            (cli.folder / "free").touch()
            assert second.wait(60) == 0, logs[1].read_text()
    assert attempts(cli, **env) == [("completed", 1)] * 3
    assert complete(cli) == ["COMPLETE"] * 3
    assert_nothing_left(cli.folder)


def test_one_that_stands_by_takes_over_what_is_handed_over(cli: Cli, redis_url: str) -> None:
    env = {"REDIS_URL": redis_url}
    sweep = cli.sweep(objective={"function": "obj:train"}, budget={"max_trials": 2, "max_concurrent": 1})
    command = ("controller", "start", sweep, "--hand-over")
    logs = [cli.folder / name for name in ("one", "two")]
    with (
        started("worker", cwd=cli.folder, log=cli.folder / "worker", **env),
        started(*command, cwd=cli.folder, log=logs[0], **env) as first,
    ):
        wait_for(lambda: "study s" in logs[0].read_text() and attempts(cli, **env), "the study")
        wait_for(lambda: attempts(cli, **env) == [("in_progress", 1)], "a running trial")
        with started(*command, cwd=cli.folder, log=logs[1], **env) as second:
            wait_for(lambda: "standing by" in logs[1].read_text(), "the second controller")
            first.send_signal(signal.SIGTERM)
            assert first.wait(30) == 130
            # No lease has to run out for that.
            wait_for(lambda: cli.json("status", **env)["controller"], "the second one's lease")
            assert attempts(cli, **env) == [("in_progress", 1)]
            (cli.folder / "free").touch()
            assert second.wait(60) == 0, logs[1].read_text()
    assert attempts(cli, **env) == [("completed", 1)] * 2
    assert complete(cli) == ["COMPLETE"] * 2


def test_its_own_workers_hand_back_what_they_run(cli: Cli) -> None:
    sweep = cli.sweep(objective={"function": "obj:train"}, budget={"max_trials": 2, "max_concurrent": 1})
    command = ("controller", "start", sweep, "--workers", "1", "--hand-over")
    log = cli.folder / "log"
    with started(*command, cwd=cli.folder, log=log) as first:
        wait_for(lambda: "study s" in log.read_text() and attempts(cli), "the study")
        wait_for(lambda: attempts(cli) == [("in_progress", 1)], "a running trial")
        first.send_signal(signal.SIGTERM)
        assert first.wait(30) == 130, log.read_text()
    assert "Traceback" not in log.read_text()
    assert_nothing_left(cli.folder)
    assert [status for status, _ in attempts(cli)] == ["queued"]
    (cli.folder / "free").touch()
    with started(*command, cwd=cli.folder, log=log) as second:
        assert second.wait(60) == 0, log.read_text()
    assert [status for status, _ in attempts(cli)] == ["completed"] * 2
    assert complete(cli) == ["COMPLETE"] * 2


def test_ctrl_c_stops_what_runs_all_the_same(cli: Cli) -> None:
    sweep = cli.sweep(objective={"function": "obj:train"}, budget={"max_trials": 2, "max_concurrent": 1})
    log = cli.folder / "log"
    with started(
        "controller", "start", sweep, "--workers", "1", "--hand-over", cwd=cli.folder, log=log
    ) as process:
        wait_for(lambda: "study s" in log.read_text() and attempts(cli), "the study")
        wait_for(lambda: attempts(cli) == [("in_progress", 1)], "a running trial")
        process.send_signal(signal.SIGINT)
        assert process.wait(40) == 130
    assert attempts(cli) == [("stopped", 1)]


@pytest.mark.parametrize("output", ["rich", "json"])
def test_servers_that_come_later_are_waited_for(cli: Cli, output: str, s3_server: S3Server) -> None:
    sweep = cli.sweep(objective={"function": "obj:quick"}, budget={"max_trials": 2})
    log = cli.folder / "log"
    s3_server.make_bucket("later")
    with RedisServer() as server:
        url, s3 = server.url(), s3_server.env()
        server.stop()
        away = {**s3, "AWS_ENDPOINT_URL_S3": f"http://127.0.0.1:{free_port()}"}
        env = {"REDIS_URL": url, "ARTIFACT_STORE": "s3://later/x"}
        # Without --wait: one line.
        done = cli("start", sweep, **env, **s3)
        assert (done.returncode, done.stderr.count("\n")) == (1, 1), done.stderr
        assert "connection refused" in done.stderr
        # A server that is not there is waited for, and an interrupt ends that.
        command = ("controller", "start", sweep, "--workers", "1", "--wait", "--format", output)
        with started(*command, cwd=cli.folder, log=log, **env, **away) as process:
            wait_for(lambda: "no S3 server answers" in log.read_text(), "the note on S3")
            process.send_signal(signal.SIGTERM)
            assert process.wait(30) == 130, log.read_text()
        with started(*command, cwd=cli.folder, log=log, **env, **s3) as process:
            wait_for(lambda: "connection refused" in log.read_text(), "the note on Redis")
            server.start()
            assert process.wait(60) == 0, log.read_text()
        said = log.read_text()
        assert said.count("trying again") == 2
        assert "Traceback" not in said
        assert attempts(cli, REDIS_URL=url) == [("completed", 1)] * 2


def test_what_waiting_does_not_help_ends_at_once(cli: Cli, redis_url: str) -> None:
    sweep = cli.sweep(objective={"function": "obj:quick"}, budget={"max_trials": 1})
    done = cli("start", sweep, "--wait", "--storage", "mysql+nothing://x/y", REDIS_URL=redis_url)
    assert (done.returncode, done.stderr.count("\n")) == (2, 1), done.stderr
    assert "trying again" not in done.stdout + done.stderr
