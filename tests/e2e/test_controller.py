"""`controller` with real processes: running, interrupting, killing, asking."""

from __future__ import annotations

import contextlib
import csv
import io
import json
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import optuna
import psutil
import pytest
import yaml

from tests.e2e.cli import Cli, folder_of
from tests.e2e.harness import (
    BIN,
    alive,
    assert_nothing_left,
    environment,
    living_in,
    run,
    run_json,
    started,
    wait_for,
)
from tests.redisserver import RedisServer

OBJECTIVES = """
import os, time

def stamp(text):
    with open("stamps", "a") as file:
        file.write(f"{text} {time.time()}\\n")

def quick(task, x, k):
    task.report_scalar("loss", "", x * x + k, 0)
    print("x is", x)
    task.upload_artifact("settings", {"x": x})

def epochs(task, x, k):
    stamp(f"start {task.trial_number}")
    for i in range(10):
        task.report_scalar("loss", "", x * x + k + 1 / (i + 1), i)
        time.sleep(0.03)
    stamp(f"end {task.trial_number}")

def slow(task, x, k):
    for i in range(200):
        task.report_scalar("loss", "", x * x + k, i)
        time.sleep(0.1)

def fails(task, x, k):
    raise ValueError(f"bad luck")

def two(task, x, k):
    return x, -x

def conditional(task, x, k, extra=None):
    assert (extra is not None) == (k == 2), (k, extra)
    return x

def hopeless(task, x, k):
    for i in range(100):
        task.report_scalar("loss", "", (1.0 if task.trial_number < 2 else 100.0) + x * 0.001, i)
        time.sleep(0.002 if task.trial_number < 2 else 0.05)
"""

SWEEP: dict[str, Any] = {
    "study": {"name": "s", "metric": {"name": "loss", "goal": "minimize"}},
    "objective": {"function": "obj:quick"},
    "parameters": {
        "x": {"type": "float", "low": -1.0, "high": 1.0},
        "k": {"type": "int", "low": 1, "high": 3},
    },
    "sampler": {"type": "random", "seed": 1},
    "budget": {"max_trials": 6},
}


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    (tmp_path / "obj.py").write_text(OBJECTIVES)
    yield tmp_path
    for line in living_in(tmp_path):
        pid = int(line.split(":")[0])
        if alive(pid):
            os.kill(pid, signal.SIGKILL)


def sweep(folder: Path, name: str = "sweep.yaml", **sections: Any) -> str:
    """Write a sweep file; keyword arguments replace sections. A lease runs out in seconds."""
    data = {**SWEEP, **sections}
    data["budget"] = {"lease": 4, **data["budget"]}
    (folder / name).write_text(yaml.safe_dump(data, sort_keys=False))
    return name


def start(
    folder: Path, name: str, *options: str, workers: int = 2, **env: str
) -> subprocess.CompletedProcess[str]:
    return run(
        "controller", "start", name, "--workers", str(workers), *options, cwd=folder, timeout=120, **env
    )


def trials(folder: Path, study: str = "s") -> list[optuna.trial.FrozenTrial]:
    return optuna.load_study(study_name=study, storage=f"sqlite:///{folder}/.optuna-rq/optuna.db").trials


def test_a_study_from_beginning_to_end(folder: Path) -> None:
    done = start(folder, sweep(folder))
    assert done.returncode == 0, done.stderr
    assert "Top 5 of study s" in done.stdout
    assert "Next:" in done.stdout
    assert done.stderr == ""
    assert_nothing_left(folder)

    top = run_json("controller", "top", "-k", "4", cwd=folder)
    assert len(top) == 4
    values = [entry["metrics"]["loss"]["value"] for entry in top]
    assert values == sorted(values)
    best = top[0]
    assert set(best) == {"task_id", "hyper_parameters", "metrics", "status"}
    assert {name: type(value) for name, value in best["hyper_parameters"].items()} == {"x": float, "k": int}
    assert best["metrics"] == {
        "loss": {
            "metric": "loss",
            "variant": "",
            "value": values[0],
            "min_value": values[0],
            "max_value": values[0],
        }
    }
    x, k = (best["hyper_parameters"][name] for name in "xk")
    assert values[0] == pytest.approx(x * x + k)

    told = trials(folder)
    assert [trial.state.name for trial in told] == ["COMPLETE"] * 6
    assert min(trial.value or 9 for trial in told) == pytest.approx(values[0])

    status = run_json("controller", "status", cwd=folder)
    assert (status["study"], status["state"], status["tasks"]["completed"]) == ("s", "completed", 6)
    assert status["budget"]["jobs"] == {"used": 6.0, "reserved": 0.0, "limit": 6.0, "unit": "jobs"}
    rows = list(csv.DictReader(io.StringIO(run("controller", "tasks", "--format", "csv", cwd=folder).stdout)))
    assert [row["trial"] for row in rows] == ["0", "1", "2", "3", "4", "5"]
    assert run_json("controller", "tasks", "--status", "failed", cwd=folder) == []

    about = run_json("controller", "show", best["task_id"][:10], cwd=folder)
    assert (about["status"], about["attempt"], about["iterations"]) == ("completed", 1, 1)
    assert "x is" in run("controller", "logs", best["task_id"], cwd=folder).stdout
    artifacts = run_json("controller", "artifacts", "list", "--task", best["task_id"], cwd=folder)
    assert [a["name"] for a in artifacts] == ["settings"]
    assert len(run_json("controller", "artifacts", "list", cwd=folder)) == 6
    got = run("controller", "artifacts", "get", best["task_id"], "settings", "out.json", cwd=folder)
    assert got.returncode == 0, got.stderr
    assert json.loads((folder / "out.json").read_text()) == {"x": pytest.approx(x)}
    again = run("controller", "artifacts", "get", best["task_id"], "settings", "out.json", cwd=folder)
    assert (again.returncode, "--force" in again.stderr) == (1, True)
    assert (
        run(
            "controller", "artifacts", "get", best["task_id"], "settings", "out.json", "--force", cwd=folder
        ).returncode
        == 0
    )
    for question in (["status"], ["top"], ["tasks"], ["show", best["task_id"]], ["artifacts", "list"]):
        shown = run("controller", *question, cwd=folder)
        assert (shown.returncode, shown.stderr) == (0, ""), question
        assert shown.stdout.strip()
    assert_nothing_left(folder)

    # The same command again has nothing to do, a larger budget has.
    assert start(folder, "sweep.yaml").returncode == 0
    assert len(trials(folder)) == 6
    assert start(folder, "sweep.yaml", "--set", "budget.max_trials=8").returncode == 0
    assert len(trials(folder)) == 8

    other = start(folder, "sweep.yaml", "--set", "parameters.x.high=2.0")
    assert other.returncode == 2
    assert "another search space (parameters.x.high" in other.stderr
    assert run_json("controller", "status", cwd=folder)["tasks"]["completed"] == 8

    for question in (
        ["top", "nope"],
        ["show", "nope"],
        ["logs", "f" * 32],
        ["artifacts", "get", best["task_id"], "nope"],
    ):
        wrong = run("controller", *question, cwd=folder)
        assert (wrong.returncode, wrong.stderr.count("\n"), "Traceback" in wrong.stderr) == (2, 1, False), (
            question
        )
        assert "nope" in wrong.stderr or "f" * 32 in wrong.stderr

    gone = run("controller", "delete", "s", "--yes", cwd=folder)
    assert "8 task(s) removed" in gone.stdout
    assert run("controller", "top", "s", cwd=folder).returncode == 2


def test_json_lines_for_programs(folder: Path) -> None:
    done = start(folder, sweep(folder, objective={"function": "obj:epochs"}), "--format", "json")
    events = [json.loads(line) for line in done.stdout.splitlines()]
    kinds = [event["event"] for event in events]
    assert (kinds[0], kinds[-1]) == ("study", "end")
    assert (kinds.count("launched"), kinds.count("started"), kinds.count("ended")) == (6, 6, 6)
    assert (events[-1]["state"], len(events[-1]["top"])) == ("completed", 5)
    stamps = [line.split() for line in (folder / "stamps").read_text().splitlines()]
    busy = most = 0
    for _, what in sorted((float(at), what) for what, _, at in stamps):
        busy += 1 if what == "start" else -1
        most = max(most, busy)
    assert most == 2


def test_never_more_at_once_than_allowed(folder: Path) -> None:
    done = start(
        folder,
        sweep(folder, objective={"function": "obj:epochs"}, budget={"max_trials": 5, "max_concurrent": 2}),
        workers=4,
    )
    assert done.returncode == 0, done.stderr
    busy = most = 0
    stamps = [line.split() for line in (folder / "stamps").read_text().splitlines()]
    for _, what in sorted((float(at), what) for what, _, at in stamps):
        busy += 1 if what == "start" else -1
        most = max(most, busy)
    assert most == 2


def test_scripts_and_commands(folder: Path) -> None:
    (folder / "train.py").write_text(
        "from worker import Task\ntask = Task.init()\np = task.connect({'x': 0.0, 'k': 0})\n"
        "task.report_scalar('loss', '', p['x'] ** 2 + p['k'], 0)\n"
    )
    script = sweep(folder, objective={"script": "train.py"}, study={**SWEEP["study"], "name": "a b/c:ü"})
    assert start(folder, script).returncode == 0
    assert len(run_json("controller", "top", "a b/c:ü", cwd=folder)) == 5
    command = sweep(
        folder,
        objective={"command": ["bash", "-c", 'echo "loss=$2 iteration=$1"', "sh", "{k}", "{x}"]},
        study={**SWEEP["study"], "name": "command"},
    )
    assert start(folder, command).returncode == 0
    top = run_json("controller", "top", cwd=folder)
    assert top[0]["metrics"]["loss"]["value"] == top[0]["hyper_parameters"]["x"]


def test_conditions_several_objectives_and_grids(folder: Path) -> None:
    parameters = {
        **SWEEP["parameters"],
        "extra": {"type": "float", "low": 0.0, "high": 1.0, "when": {"k": 2}},
    }
    done = start(
        folder,
        sweep(
            folder,
            objective={"function": "obj:conditional"},
            parameters=parameters,
            budget={"max_trials": 10},
        ),
    )
    assert done.returncode == 0, done.stdout
    assert {trial.state.name for trial in trials(folder)} == {"COMPLETE"}
    metrics = [{"name": "a", "goal": "minimize"}, {"name": "b", "goal": "maximize"}]
    done = start(
        folder, sweep(folder, study={"name": "two", "metric": metrics}, objective={"function": "obj:two"})
    )
    assert done.returncode == 0, done.stderr
    assert all(trial.values == [trial.params["x"], -trial.params["x"]] for trial in trials(folder, "two"))
    assert len(run_json("controller", "top", "two", "-k", "2", cwd=folder)[0]["metrics"]) == 2
    grid = {"x": {"choices": [0.0, 0.5]}, "k": {"type": "int", "low": 1, "high": 3}}
    done = start(
        folder,
        sweep(
            folder,
            study={**SWEEP["study"], "name": "grid"},
            parameters=grid,
            sampler={"type": "grid"},
            budget={},
        ),
    )
    assert done.returncode == 0, done.stderr
    tried = sorted((trial.params["x"], trial.params["k"]) for trial in trials(folder, "grid"))
    assert tried == [(x, k) for x in (0.0, 0.5) for k in (1, 2, 3)]


def test_hopeless_trials_are_stopped_on_the_way(folder: Path) -> None:
    pruner = {"type": "median", "n_startup_trials": 2, "n_warmup_steps": 1}
    done = start(
        folder,
        sweep(
            folder,
            objective={"function": "obj:hopeless"},
            pruner=pruner,
            budget={"max_trials": 4, "max_concurrent": 1},
        ),
        workers=1,
    )
    assert done.returncode == 0, done.stderr
    told = trials(folder)
    assert [trial.state.name for trial in told] == ["COMPLETE", "COMPLETE", "PRUNED", "PRUNED"]
    tasks = run_json("controller", "tasks", cwd=folder)
    assert [task["status"] for task in tasks] == ["completed", "completed", "stopped", "stopped"]
    assert all(task["reason"].startswith("pruned: given up at iteration") for task in tasks[2:])
    assert all(len(trial.intermediate_values) < 50 for trial in told[2:])


def test_limits_of_time(folder: Path) -> None:
    budget = {"max_trials": 2, "time_per_trial": 0.5}
    done = start(folder, sweep(folder, objective={"function": "obj:slow"}, budget=budget))
    assert done.returncode == 0, done.stdout
    assert all(
        t["reason"].startswith("time_limit: ran for its limit of 0.5 s")
        for t in run_json("controller", "tasks", cwd=folder)
    )
    begun = time.monotonic()
    done = start(
        folder,
        sweep(
            folder,
            study={**SWEEP["study"], "name": "wall"},
            objective={"function": "obj:slow"},
            budget={"wall_clock": 2},
        ),
    )
    assert time.monotonic() - begun < 15
    assert done.returncode == 0, done.stdout
    assert "wall-clock limit of 2 s reached" in done.stdout
    assert_nothing_left(folder)


def test_a_study_whose_trials_all_fail_fails(folder: Path) -> None:
    done = start(folder, sweep(folder, objective={"function": "obj:fails"}, budget={"max_trials": 3}))
    assert done.returncode == 1
    assert "3 × objective_error: ValueError: bad luck" in done.stdout
    done = start(
        folder,
        sweep(
            folder,
            study={**SWEEP["study"], "name": "f"},
            objective={"function": "obj:fails"},
            budget={"max_trials": 50, "max_failures": 2},
        ),
    )
    assert done.returncode == 1
    assert "trials failed" in done.stdout
    assert len(run_json("controller", "tasks", cwd=folder)) < 8


@pytest.mark.parametrize("how", ["controller", "group", "sigterm"])
def test_an_interrupted_study_goes_on(folder: Path, how: str) -> None:
    name = sweep(folder, objective={"function": "obj:epochs"}, budget={"max_trials": 6})
    with started("controller", "start", name, "--workers", "2", cwd=folder, log=folder / "log") as process:
        wait_for(
            lambda: (folder / "stamps").exists() and "end" in (folder / "stamps").read_text(), "a trial's end"
        )
        if how == "group":
            os.killpg(process.pid, signal.SIGINT)
        else:
            process.send_signal(signal.SIGINT if how == "controller" else signal.SIGTERM)
        assert process.wait(30) == 130, (folder / "log").read_text()
    assert_nothing_left(folder)
    status = run_json("controller", "status", cwd=folder)
    assert status["state"] == "interrupted"
    assert status["tasks"]["in_progress"] == status["tasks"]["queued"] == 0
    assert start(folder, name).returncode == 0
    status = run_json("controller", "status", cwd=folder)
    assert (status["state"], status["tasks"]["completed"]) == ("completed", 6)
    told = trials(folder)
    assert len([trial for trial in told if trial.state.name == "COMPLETE"]) == 6
    # What was cut short was tried again with the same parameters.
    finished = [trial.params for trial in told if trial.state.name == "COMPLETE"]
    assert all(trial.params in finished for trial in told if trial.state.name == "FAIL")


def children_of(pid: int, text: str) -> list[int]:
    found = []
    for process in psutil.Process(pid).children(recursive=True):
        with contextlib.suppress(psutil.Error):  # a trial that has ended just now
            if text in " ".join(process.cmdline()):
                found.append(process.pid)
    return found


def test_kill_minus_nine(folder: Path) -> None:
    name = sweep(folder, objective={"function": "obj:epochs"}, budget={"max_trials": 16})
    with started("controller", "start", name, "--workers", "2", cwd=folder, log=folder / "log") as process:
        wait_for(
            lambda: (folder / "stamps").exists() and (folder / "stamps").read_text().count("end") >= 2,
            "two trials",
        )
        os.kill(
            children_of(process.pid, "worker.cli")[0], signal.SIGKILL
        )  # one worker; another takes its place
        wait_for(lambda: (folder / "stamps").read_text().count("end") >= 5, "three more")
        process.kill()
        process.wait()
        assert_nothing_left(folder)
    done = start(folder, name)
    assert done.returncode == 0, done.stdout
    tasks = run_json("controller", "tasks", cwd=folder)
    assert {task["status"] for task in tasks} == {"completed"}
    # A seeded sampler begins anew, with what was tried already; that is not run again.
    told = [trial for trial in trials(folder) if "optuna-rq:duplicate_of" not in trial.user_attrs]
    assert [trial.state.name for trial in told] == ["COMPLETE"] * 16
    values = {task["trial"]: task["loss"] for task in tasks}
    assert {trial.number: trial.value for trial in told} == values
    assert_nothing_left(folder)


def in_progress(folder: Path) -> list[Any]:
    """The tasks that run now; empty as long as there is no study."""
    done = run("controller", "tasks", "--status", "in_progress", "--format", "json", cwd=folder)
    return list(json.loads(done.stdout)) if done.returncode == 0 else []


def test_a_second_controller_stands_by_and_takes_over(folder: Path) -> None:
    name = sweep(folder, objective={"function": "obj:slow"}, budget={"max_trials": 2, "time_per_trial": 60})
    with (
        started("controller", "start", name, "--workers", "1", cwd=folder, log=folder / "one") as first,
        started("controller", "start", name, "--workers", "1", cwd=folder, log=folder / "two") as second,
    ):
        logs = (folder / "one", folder / "two")
        waiting = wait_for(
            lambda: next((log for log in logs if log.exists() and "standing by" in log.read_text()), None),
            "standing by",
        )
        active, standby = (first, second) if waiting.name == "two" else (second, first)
        wait_for(lambda: in_progress(folder), "a running task")
        active.kill()
        active.wait()
        wait_for(lambda: "study s" in waiting.read_text(), "the take-over", 40.0)
        standby.send_signal(signal.SIGINT)
        assert standby.wait(40) == 130


def test_a_controller_that_stands_by_does_not_go_on_with_what_was_stopped(folder: Path) -> None:
    name = sweep(folder, objective={"function": "obj:slow"}, budget={"max_trials": 20})
    with started("controller", "start", name, "--workers", "1", cwd=folder, log=folder / "one") as active:
        wait_for(lambda: in_progress(folder), "a running task")
        with started(
            "controller", "start", name, "--workers", "0", cwd=folder, log=folder / "two"
        ) as standby:
            wait_for(lambda: "standing by" in (folder / "two").read_text(), "standing by")
            assert run("controller", "stop", cwd=folder).returncode == 0
            assert (active.wait(40), standby.wait(40)) == (0, 0)
    assert "study s stopped" in (folder / "two").read_text()


def test_stop_pause_resume_and_a_followed_log(folder: Path) -> None:
    name = sweep(folder, objective={"function": "obj:slow"}, budget={"max_trials": 20})
    with started("controller", "start", name, "--workers", "2", cwd=folder, log=folder / "log") as process:
        wait_for(lambda: (folder / ".optuna-rq").exists(), "the state folder")

        task = wait_for(lambda: in_progress(folder), "a running task")[0]["task_id"]
        with started("controller", "logs", "-f", task, cwd=folder, log=folder / "followed") as follower:
            stopped = run("controller", "stop", "--task", task[:12], cwd=folder)
            assert "asked to stop" in stopped.stdout
            assert follower.wait(20) == 0
        assert "paused" not in (folder / "log").read_text()
        assert run("controller", "pause", cwd=folder).returncode == 0
        wait_for(lambda: "paused" in (folder / "log").read_text(), "the pause")
        assert run("controller", "resume", "s", cwd=folder).returncode == 0
        wait_for(lambda: "resumed" in (folder / "log").read_text(), "the end of the pause")
        assert "asked to stop it" in run("controller", "stop", cwd=folder).stdout
        assert process.wait(40) == 0, (folder / "log").read_text()
    about = run_json("controller", "show", task, cwd=folder)
    assert (about["status"], about["reason_class"]) == ("stopped", "user")
    assert run_json("controller", "status", cwd=folder)["state"] == "stopped"
    assert run("controller", "pause", cwd=folder).returncode == 2
    assert_nothing_left(folder)


def test_two_studies_share_one_redis(folder: Path, redis_server: RedisServer, redis_url: str) -> None:
    names = [
        sweep(folder, f"{s}.yaml", study={**SWEEP["study"], "name": s}, budget={"max_trials": 8})
        for s in "pq"
    ]
    with started("worker", "--slots", "2", cwd=folder, REDIS_URL=redis_url):
        both = [
            subprocess.Popen(
                [str(BIN / "controller"), "start", name],
                cwd=folder,
                env=environment(REDIS_URL=redis_url),
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
            )
            for name in names
        ]
        outputs = [process.communicate(timeout=60) for process in both]
    assert [process.returncode for process in both] == [0, 0], outputs
    for name in "pq":
        assert [trial.state.name for trial in trials(folder, name)] == ["COMPLETE"] * 8
        assert len(run_json("controller", "tasks", name, cwd=folder, REDIS_URL=redis_url)) == 8


def test_redis_killed_in_mid_run(folder: Path) -> None:
    name = sweep(folder, objective={"function": "obj:epochs"}, budget={"max_trials": 12})
    with RedisServer(appendonly=True, config=["appendfsync always"]) as server:
        env = {"REDIS_URL": server.url()}
        with started(
            "controller", "start", name, "--workers", "2", cwd=folder, log=folder / "log", **env
        ) as process:
            wait_for(
                lambda: (folder / "stamps").exists() and (folder / "stamps").read_text().count("end") >= 2,
                "two trials",
            )
            time.sleep(1.2)
            server.kill()
            wait_for(
                lambda: "Redis is away" in (folder / "log").read_text(), "the controller to notice", 90.0
            )
            server.start()
            assert process.wait(90) == 0, (folder / "log").read_text()
        assert {t["status"] for t in run_json("controller", "tasks", cwd=folder, **env)} == {"completed"}
    assert [trial.state.name for trial in trials(folder)] == ["COMPLETE"] * 12


@pytest.mark.parametrize("sampler", ["random", "tpe"])
def test_a_seeded_study_that_was_killed_suggests_the_same(tmp_path: Path, sampler: str) -> None:
    """As one that was not, with one slot: nothing but its place in the study decides on a suggestion."""
    found = []
    for name, kills in (("whole", ()), ("killed", (3, 13))):
        folder = tmp_path / name
        folder.mkdir()
        with folder_of(
            folder, "import time\ndef f(x, y):\n    time.sleep(0.05)\n    return x * x + y\n"
        ) as cli:
            parameters = {n: {"type": "float", "low": -1.0, "high": 1.0} for n in "xy"}
            given = {
                "parameters": parameters,
                "sampler": {"type": sampler, "seed": 7},
                "budget": {"max_trials": 18},
            }
            sweep = cli.sweep(objective={"function": "obj:f"}, **given)
            for trials in kills:
                with started("controller", "start", sweep, "--workers", "1", cwd=folder) as process:
                    wait_for(lambda n=trials: _asked(cli) >= n, f"{trials} trials")
                    process.kill()
                    process.wait()
            assert cli.start(sweep, workers=1).returncode == 0
            found.append([trial.params for trial in cli.trials()])
            shown = [(t.number, t.state.name, t.user_attrs, t.system_attrs, t.params) for t in cli.trials()]
    assert len(found[0]) == 18
    assert found[0] == found[1], shown


def _asked(cli: Cli) -> int:
    try:
        return len(cli.trials())
    except Exception:
        return 0  # the study is not there yet
