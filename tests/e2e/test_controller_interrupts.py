"""Studies cut short in unusual ways, and what the same command makes of them."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.cli import Cli, folder_of
from tests.e2e.harness import assert_nothing_left, started, wait_for
from tests.redisserver import RedisServer

OBJECTIVES = """
import os, signal, time

def quick(task, x):
    return float(x)

def waits(task, x):
    '''Runs until there is a file "free".'''
    open(f"began-{task.trial_number}", "w").close()
    i = 0
    while not os.path.exists("free"):
        task.report_scalar("loss", "", float(x), i)
        i += 1
        time.sleep(0.05)
    return float(x)

def stubborn(task, x):
    '''As `waits`, but neither a request nor SIGTERM stops it.'''
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    open(f"began-{task.trial_number}", "w").close()
    while not os.path.exists("free"):
        time.sleep(0.05)
    return float(x)
"""


@pytest.fixture
def cli(tmp_path: Path) -> Iterator[Cli]:
    with folder_of(tmp_path, OBJECTIVES) as found:
        yield found


def begun(cli: Cli) -> list[str]:
    return sorted(path.name for path in cli.folder.glob("began-*"))


def free(cli: Cli) -> None:
    (cli.folder / "free").touch()


def completed(cli: Cli) -> list[object]:
    """The parameters of the trials that Optuna has as complete, each checked against its task."""
    tasks = {row["trial"]: row for row in cli.json("tasks", "--status", "completed")}
    found = [trial for trial in cli.trials() if trial.state.name == "COMPLETE"]
    assert {trial.number: trial.value for trial in found} == {n: row["loss"] for n, row in tasks.items()}
    assert not [trial for trial in cli.trials() if trial.state.name in ("RUNNING", "WAITING")]
    return [trial.params["x"] for trial in found]


def test_ctrl_c_twice_hands_back_what_does_not_stop(cli: Cli) -> None:
    file = cli.sweep(objective={"function": "obj:stubborn"})
    log = cli.folder / "log"
    with started("controller", "start", file, "--workers", "2", cwd=cli.folder, log=log) as process:
        wait_for(lambda: len(begun(cli)) == 2, "two running trials")
        process.send_signal(signal.SIGINT)
        # The queued third one is stopped at once; then it waits for the two, for their grace period.
        wait_for(lambda: "study_stopped" in log.read_text(), "the end of the third")
        process.send_signal(signal.SIGINT)
        assert process.wait(40) == 130
    assert "Traceback" not in log.read_text()
    assert_nothing_left(cli.folder)
    tasks = cli.json("tasks")
    # Not killed after the grace period, but handed back for another attempt.
    assert [(task["status"], task["attempt"]) for task in tasks[:2]] == [("queued", 2)] * 2
    assert tasks[2]["status"] == "stopped"
    free(cli)
    assert cli.start(file).returncode == 0
    assert len(completed(cli)) == 3


def test_a_closed_terminal_and_a_request_that_comes_too_late(cli: Cli) -> None:
    file = cli.sweep(objective={"function": "obj:waits"})
    with started("controller", "start", file, "--workers", "2", cwd=cli.folder) as process:
        wait_for(lambda: len(begun(cli)) == 2, "two running trials")
        os.killpg(process.pid, signal.SIGHUP)
        assert process.wait(10) == -signal.SIGHUP
        # Its lease has not run out yet: as far as anyone can know, it still acts.
        said = cli("stop").stdout
        assert_nothing_left(cli.folder)
    assert said == "study s: its controller was asked to stop it\n"
    free(cli)
    # The request was to that controller: this one takes over, once the lease has run out, and goes on.
    done = cli.start(file, "--set", "budget.max_trials=4")
    assert done.returncode == 0, done.stderr
    assert cli.json("status")["state"] == "completed"
    assert len(completed(cli)) == 4
    assert_nothing_left(cli.folder)


def test_a_grid_that_is_interrupted_runs_each_point_once(cli: Cli) -> None:
    points = [1, 2, 3, 4, 5, 6]
    file = cli.sweep(
        objective={"function": "obj:waits"},
        parameters={"x": {"choices": points}},
        sampler={"type": "grid"},
        budget={"max_concurrent": 4},
    )
    with started("controller", "start", file, "--workers", "2", cwd=cli.folder) as process:
        wait_for(lambda: len(begun(cli)) == 2, "two running trials")
        process.send_signal(signal.SIGTERM)
        assert process.wait(40) == 130
    assert cli.json("status")["tasks"]["stopped"] == 4
    free(cli)
    # With fewer at once, so that those tried again don't all run before the sampler thinks it is done.
    done = cli.start(file, "--set", "budget.max_concurrent=1", workers=1)
    assert done.returncode == 0, done.stderr
    assert sorted(completed(cli)) == points  # type: ignore[type-var]
    assert_nothing_left(cli.folder)


def test_stop_of_a_study_that_nobody_runs(cli: Cli) -> None:
    file = cli.sweep(objective={"function": "obj:waits"})
    with started("controller", "start", file, "--workers", "1", cwd=cli.folder) as process:
        wait_for(lambda: begun(cli), "a running trial")
        process.send_signal(signal.SIGINT)
        assert process.wait(40) == 130
    assert cli("resume").returncode == 2
    assert cli("stop").stdout == "study s: no controller acts on it; 0 open task(s) asked to stop\n"
    assert cli.json("status")["state"] == "stopped"
    free(cli)
    assert cli.start(file).returncode == 0
    assert len(completed(cli)) == 3
    assert cli("stop").returncode == 0
    assert cli.json("status")["state"] == "completed"


def test_interrupted_while_there_is_nobody_to_work(
    cli: Cli, redis_server: RedisServer, redis_url: str
) -> None:
    """Without a worker, before and after the objective could be checked, and while standing by."""
    file = cli.sweep()
    unknown = cli.sweep("unknown.yaml", objective={"function": "nowhere:quick"})
    logs = [cli.folder / f"log-{number}" for number in range(3)]
    env = {"REDIS_URL": redis_url}
    with (
        started("controller", "start", file, cwd=cli.folder, log=logs[0], **env) as first,
        started(
            "controller", "start", unknown, "--set", "study.name=u", cwd=cli.folder, log=logs[1], **env
        ) as asking,
    ):
        wait_for(lambda: "no worker serves" in logs[0].read_text(), "the hint")
        wait_for(lambda: "no worker serves" in logs[1].read_text(), "the hint while asking")
        with started("controller", "start", file, cwd=cli.folder, log=logs[2], **env) as standby:
            wait_for(lambda: "standing by" in logs[2].read_text(), "standing by")
            for process in (standby, asking, first):
                process.send_signal(signal.SIGINT)
            assert [process.wait(40) for process in (standby, asking, first)] == [130] * 3
    assert not [log for log in logs if "Traceback" in log.read_text()]
    with redis_server.client() as client:
        # No job waits for a worker to come, no lease is held.
        assert client.llen("rq:queue:default") == 0
        assert client.keys("orq:study:*:lock") == []
    assert cli("status", "u", REDIS_URL=redis_url).returncode == 2
    status = cli.json("status", REDIS_URL=redis_url)
    assert (status["state"], status["tasks"]["queued"]) == ("interrupted", 0)
    done = cli.start(file, "--format", "json", **env)
    assert done.returncode == 0, done.stderr
    assert cli.json("status", REDIS_URL=redis_url)["tasks"]["completed"] == 3


@pytest.mark.real_start
def test_local_workers_that_can_not_live(cli: Cli) -> None:
    """They are started again a few times, then the study ends and says why."""
    broken = cli.folder / "broken"
    broken.mkdir()
    (broken / "sitecustomize.py").write_text(
        "import os\nif 'OPTUNA_RQ_PARENT' in os.environ:\n    os.write(2, b'no room\\n')\n    os._exit(7)\n"
    )
    file = cli.sweep()
    done = cli.start(file, workers=1, PYTHONPATH=str(broken))
    assert done.returncode == 1
    assert "local workers end as soon as they start: no room" in done.stderr
    assert "Traceback" not in done.stderr
    assert_nothing_left(cli.folder)
    status = cli.json("status")
    assert (status["state"], status["tasks"]["failed"]) == ("interrupted", 0)
