"""Health and metrics of real controllers and workers: scraped while they run, and while what they need goes away."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import socket
import sqlite3
import subprocess
import threading
import time
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import psutil
import pytest
import rq
from prometheus_client.parser import text_string_to_metric_families
from rq.serializers import JSONSerializer

from tests.e2e.cli import Cli, folder_of
from tests.e2e.harness import (
    BIN,
    alive,
    assert_nothing_left,
    descendants,
    environment,
    run,
    started,
    wait_for,
)
from tests.prometheus import Prometheus
from tests.redisserver import RedisServer
from tests.servers import free_port
from tests.unit.test_metrics_docs import SUFFIXES, documented, filled, panels
from worker.protocol import Store, keys
from worker.protocol.connection import connect

PASSWORD = "geheim-7c1f"
OBJECTIVES = """
import os, time

def mixed(task, kind, secret=0.0):
    if kind == "fails":
        raise ValueError("broken")
    if kind == "holds":
        open("began", "w").close()
        while not os.path.exists("free"):
            time.sleep(0.02)
    for i in range(3 if kind != "hopeless" else 5):
        task.report_scalar("loss", "", 1000.0 if kind == "hopeless" else 1.5 + i, i)
        if kind == "hopeless":
            time.sleep(1)

def quick(task, x):
    return float(x)

def waits(task, x):
    open("began", "w").close()
    while not os.path.exists("free"):
        time.sleep(0.02)
    return float(x)
"""

ROOT = Path(__file__).parents[2]
Samples = dict[tuple[str, frozenset[tuple[str, str]]], float]


@pytest.fixture
def cli(tmp_path: Path) -> Iterator[Cli]:
    with folder_of(tmp_path, OBJECTIVES) as found:
        yield found
    assert_nothing_left(tmp_path)


@pytest.fixture
def server() -> Iterator[RedisServer]:
    with RedisServer(password=PASSWORD, appendonly=True) as server:
        yield server


def ask(port: int, path: str) -> tuple[int, str]:
    """Status and body; 0 where nobody answers."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=10) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()
    except OSError:
        return 0, ""


def scrape(port: int) -> Samples:
    status, text = ask(port, "/metrics")
    assert status == 200, text
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def value(samples: Samples, name: str, **labels: str) -> float | None:
    """The sample of that name that has these labels, whatever else it has; None where there is none."""
    found = [
        v
        for (n, its), v in samples.items()
        if n == f"optuna_rq_{name}" and labels.items() <= dict(its).items()
    ]
    assert len(found) < 2, (name, labels, found)
    return found[0] if found else None


def nonzero(samples: Samples, name: str, *labels: str) -> dict[tuple[str, ...], float]:
    """The values that aren't 0, by the values of these labels, summed over the others."""
    found: Counter[tuple[str, ...]] = Counter()
    for (n, its), number in samples.items():
        if n == f"optuna_rq_{name}" and number:
            found[tuple(dict(its)[label] for label in labels)] += number  # type: ignore[assignment]
    return dict(found)


def becomes(port: int, path: str, status: int, text: str = "") -> None:
    def look() -> bool:
        found = ask(port, path)
        return found[0] == status and text in found[1]

    try:
        wait_for(look, f"{path} {status} {text!r}", 30.0)
    except AssertionError:
        raise AssertionError(f"{path} is {ask(port, path)}, not {status} {text!r}") from None


def scraped(port: int, condition: Callable[[Samples], bool], what: str) -> Samples:
    """The first scrape that fulfils a condition."""
    wait_for(lambda: ask(port, "/livez")[0], f"somebody at port {port}", 30.0)

    def look() -> Samples | None:
        samples = scrape(port)
        return samples if condition(samples) else None

    return wait_for(look, what, 30.0)


class Mixed(NamedTuple):
    """A study that is half done."""

    ours: int
    """Port of its controller."""
    theirs: int
    """Port of its worker."""
    env: dict[str, str]
    controller: subprocess.Popen[bytes]
    worker: subprocess.Popen[bytes]
    samples: Samples
    """Of the controller."""


MIXED = {
    "objective": {"function": "obj:mixed"},
    "sampler": {"type": "grid"},
    "pruner": {"type": "threshold", "upper": 100.0},
    "budget": {
        "max_trials": 5,
        "max_iterations": 5,
        "max_failures": 3,
        "total_compute": "1h",
        "wall_clock": "2h",
    },
}


def kinds(*names: str) -> dict[str, Any]:
    return {"kind": {"choices": list(names)}, "secret": {"choices": [0.123456789]}}


@contextmanager
def mixed_study(cli: Cli, server: RedisServer) -> Iterator[Mixed]:
    """A worker and a study of which one trial has failed, one was pruned, two are complete and one is held."""
    ours, theirs = free_port(), free_port()
    env = {"REDIS_URL": server.url()}
    sweep = cli.sweep(**MIXED, parameters=kinds("a", "b", "fails", "hopeless", "holds"))
    worker = started(
        "worker", "--slots", "2", "--name", "w1", "--metrics-port", str(theirs),
        cwd=cli.folder, log=cli.folder / "worker.log", **env,
    )  # fmt: skip
    controller = started(
        "controller",
        "start",
        sweep,
        "--metrics-port",
        str(ours),
        cwd=cli.folder,
        log=cli.folder / "log",
        **env,
    )
    with worker as worker_process, controller as process:
        becomes(theirs, "/readyz", 200, "ready: 2 slot(s), ")
        wait_for(lambda: _keep_forecast(server.url()), "the study's record")
        samples = scraped(
            ours,
            # What Redis knows is looked at once a second, and may be older than the rest.
            lambda found: (
                sum(nonzero(found, "trials_told_total", "status").values()) == 4
                and value(found, "best_value") == 3.5
                and (value(found, "fleet_slots_busy"), value(found, "queue_length")) == (1, 0)
                and value(found, "forecast_left_seconds", quantile="0.5") is not None
            ),
            "the end of all trials but the one that is held",
        )
        yield Mixed(ours, theirs, env, process, worker_process, samples)
        (cli.folder / "free").touch()
        assert process.wait(60) == 0


def _keep_forecast(url: str) -> bool:
    """Keep a forecast in the study's record, as the controller of a study does that has run for a while."""
    client = connect(url)
    low_to_high = {"low": 60.0, "median": 70.0, "high": 80.0}
    kinds_of = ("left_s", "trials", "slot_hours", "gpu_hours", "money")
    forecast = {"at": time.time(), **dict.fromkeys(kinds_of, low_to_high)}
    if not client.exists(keys.study("s")):
        return False
    client.hset(keys.study("s"), "forecast", json.dumps(forecast))
    return True


def test_a_study_from_both_sides(cli: Cli, server: RedisServer) -> None:
    """All numbers are those of the records."""
    with mixed_study(cli, server) as study:
        samples, ours, theirs, env = study.samples, study.ours, study.theirs, study.env
        tasks = cli.json("tasks", **env)
        ends = {(row["status"], row["reason"].split(":")[0]): 1.0 for row in tasks}
        running, failed, pruned = ("in_progress", ""), ("failed", "objective_error"), ("stopped", "pruned")
        assert ends.keys() == {("completed", ""), failed, pruned, running}
        ends["completed", ""] = 2.0
        assert nonzero(samples, "tasks", "status", "reason") == ends
        told = {end: count for end, count in ends.items() if end != running}
        assert nonzero(samples, "trials_told_total", "status", "reason") == told
        # The record has them once a second.
        iterations = sum(cli.json("show", row["task_id"], **env)["iterations"] for row in tasks)
        iterations += 5  # a full share of the one that has failed at once
        budgets = wait_for(lambda: _settled(cli, env, 5, iterations), "all budgets in the record")
        for name, kept in (("trials", "jobs"), ("iterations", "iterations"), ("failures", "failures")):
            assert value(samples, f"budget_{name}_used") == budgets[kept]["used"], name
            assert value(samples, f"budget_{name}_limit") == budgets[kept]["limit"], name
        assert value(samples, "budget_compute_limit_seconds") == 3600
        assert value(samples, "budget_wall_clock_limit_seconds") == 7200
        computed = sum(row["seconds"] for row in tasks if row["status"] != "in_progress")
        assert computed - 0.3 < (value(samples, "budget_compute_used_seconds") or 0)
        assert 0 < (value(samples, "budget_wall_clock_used_seconds") or 0) < 120
        assert nonzero(samples, "study_state", "state") == {("running",): 1.0}
        assert 0 < (value(samples, "forecast_left_seconds", quantile="0.5") or 0) <= 70
        assert value(samples, "forecast_cost", quantile="0.9") == 80
        assert value(samples, "fleet_workers", state="running") == 1
        assert value(samples, "fleet_slots") == 2
        assert 0 <= (value(samples, "fleet_heartbeat_age_seconds", worker="w1") or 0) < 15
        # An event that came just before the scrape may not have been read yet.
        scraped(ours, lambda found: value(found, "event_lag_seconds") == 0, "all events read")
        for name, count in {"queue_wait": 5, "sampler_ask": 5, "slot_turnaround": 2}.items():
            assert (value(samples, f"{name}_seconds_count") or 0) >= count, name
        durations = nonzero(samples, "trial_duration_seconds_count", "status")
        assert durations == {("completed",): 2, ("failed",): 1, ("stopped",): 1}
        assert (value(samples, "storage_flush_seconds_sum") or 0) > 0
        assert (value(samples, "redis_up"), value(samples, "storage_up")) == (1, 1)
        assert ask(ours, "/readyz") == (200, "acts on study s\n")
        assert ask(ours, "/livez") == (200, "alive\n")

        of_worker = scraped(theirs, lambda found: value(found, "worker_slots_busy") == 1, "one busy slot")
        assert value(of_worker, "worker_attempts_started_total", worker="w1") == 5
        assert nonzero(of_worker, "worker_attempts_ended_total", "outcome", "reason") == told
        assert value(of_worker, "worker_attempt_duration_seconds_count") == 4
        assert (value(of_worker, "worker_slots"), value(of_worker, "worker_slots_up")) == (2, 2)
        check_labels(samples, of_worker)
        check_silence([ask(port, "/metrics")[1] for port in (ours, theirs)], tasks)
        assert_socket_is_only_of(study.worker.pid, theirs, busy=3)
        assert_socket_is_only_of(study.controller.pid, ours)

        (cli.folder / "free").touch()
        assert study.controller.wait(60) == 0
        assert ask(ours, "/livez")[0] == 0
        after = scraped(theirs, lambda found: value(found, "worker_slots_busy") == 0, "no busy slot")
        assert nonzero(after, "worker_attempts_ended_total", "outcome", "reason") == {
            **told,
            ("completed", ""): 3,
        }
        study.worker.terminate()
        assert study.worker.wait(30) == 0
        assert ask(theirs, "/livez")[0] == 0


@pytest.fixture
def prometheus(tmp_path: Path) -> Iterator[Prometheus]:
    """Not started; skips where it isn't installed, and fails where CI=true."""
    if shutil.which("prometheus") is None:
        (pytest.fail if os.environ.get("CI") == "true" else pytest.skip)("there is no prometheus")
    directory = tmp_path / "prometheus"
    directory.mkdir()
    prometheus = Prometheus(directory, ROOT / "deploy/prometheus/alerts.yml")
    yield prometheus
    prometheus.stop()


# What shows nothing as long as all is well, or nothing ends.
QUIET = {"Slots restarted, jobs refused", "Not taking jobs", "Attempts ended"}


def test_prometheus_fills_the_dashboard(cli: Cli, server: RedisServer, prometheus: Prometheus) -> None:
    with mixed_study(cli, server) as study:
        prometheus.start(study.ours, study.theirs)
        wait_for(lambda: prometheus.up() == 2, "both targets")
        asked = "count_over_time(optuna_rq_tasks[1m]) > 5"
        wait_for(lambda: prometheus.query(asked), "some scrapes")
        for panel in panels():
            for expression in filled(panel, study="s", worker="w1"):
                found = prometheus.query(expression)
                quiet = panel["title"] in QUIET or "_worker_gpu_" in expression  # there is none here
                assert found or quiet, (panel["title"], expression)
        assert prometheus.alerts() == []


def _settled(cli: Cli, env: dict[str, str], trials: int, iterations: int) -> dict[str, Any] | None:
    """The budgets as `controller status` has them, once they count so many trials and iterations."""
    found: dict[str, Any] = cli.json("status", **env)["budget"]
    used = (found["jobs"]["used"], found["iterations"]["used"])
    return found if used == (trials, iterations) else None


def check_labels(*scrapes: Samples) -> None:
    """What the page says of each metric's labels is what its samples have; and all that it lists was seen."""
    labels: dict[str, set[str]] = {}
    for (name, its), _ in (item for samples in scrapes for item in samples.items()):
        labels.setdefault(name, set()).update(label for label, _ in its if label != "le")
    for name, (kind, known, _) in documented().items():
        if name.startswith("optuna_rq_worker_gpu_"):
            continue  # no GPU is watched here; tests/unit/test_gpus.py has their samples
        for suffix in SUFFIXES[kind]:
            sample = f"{name.removesuffix('_total')}{suffix}"
            # Nothing is paused, refused or killed here, but everything is shown as 0 from the beginning.
            assert labels.get(sample) == known | ({"study"} if "fleet" in name else set()), sample


def check_silence(texts: list[str], tasks: list[dict[str, Any]]) -> None:
    """Neither secrets nor parameters nor ids of tasks are in what is scraped."""
    for text in texts:
        assert PASSWORD not in text
        assert "redis://" not in text
        assert "0.123456789" not in text
        assert "secret" not in text
        assert not any(row["task_id"] in text or row["task_id"][:8] in text for row in tasks)


def assert_socket_is_only_of(pid: int, port: int, busy: int = 0) -> None:
    """The listening socket of a port is held by one process, though it has children."""
    (connection,) = [
        c
        for c in psutil.Process(pid).net_connections("inet")
        if c.status == "LISTEN" and c.laddr.port == port
    ]
    inode = os.readlink(f"/proc/{pid}/fd/{connection.fd}")
    assert inode.startswith("socket:")
    assert len(descendants(pid)) >= busy, "slots and programs"
    for child in descendants(pid):
        held = [entry.path for entry in os.scandir(f"/proc/{child}/fd") if _link(entry.path) == inode]
        assert not held, (child, held)


def _link(path: str) -> str:
    try:
        return os.readlink(path)
    except FileNotFoundError:
        return ""


def test_a_study_that_goes_on_counts_its_earlier_tasks(cli: Cli, server: RedisServer) -> None:
    env = {"REDIS_URL": server.url()}
    port = free_port()
    with started("worker", cwd=cli.folder, **env):
        done = cli("start", cli.sweep(budget={"max_trials": 3}), **env)
        assert done.returncode == 0, done.stderr + done.stdout
        # The same objective, which now waits.
        (cli.folder / "obj.py").write_text(
            OBJECTIVES.replace("def waits", "def quick", 1).replace("def quick", "def was", 1)
        )
        sweep = cli.sweep(budget={"max_trials": 4})
        with started(
            "controller", "start", sweep, "--metrics-port", str(port), cwd=cli.folder, **env
        ) as process:
            samples = scraped(
                port, lambda found: value(found, "tasks", status="in_progress") == 1, "the fourth trial"
            )
            assert nonzero(samples, "tasks", "status") == {("completed",): 3, ("in_progress",): 1}
            assert nonzero(samples, "trials_told_total", "status") == {}
            assert value(samples, "budget_trials_used") == 4
            (cli.folder / "free").touch()
            assert process.wait(60) == 0


def test_redis_goes_away_and_comes_back(cli: Cli, server: RedisServer) -> None:
    env = {"REDIS_URL": server.url()}
    ours, theirs = free_port(), free_port()
    sweep = cli.sweep(objective={"function": "obj:waits"}, budget={"max_trials": 2})
    worker = started(
        "worker", "--metrics-port", str(theirs), cwd=cli.folder, log=cli.folder / "worker.log", **env
    )
    controller = started("controller", "start", sweep, "--metrics-port", str(ours), cwd=cli.folder, **env)
    with worker as worker_process, controller as process:
        wait_for((cli.folder / "began").exists, "the first trial")
        for port in (ours, theirs):
            becomes(port, "/readyz", 200)
        known = scraped(
            ours, lambda found: value(found, "tasks", status="in_progress") == 1, "the running trial"
        )
        server.kill()
        for port in (ours, theirs):
            becomes(port, "/readyz", 503, "Redis")
            assert ask(port, "/livez")[0] == 200
        assert value(scrape(theirs), "worker_redis_up") == 0
        samples = scrape(ours)
        assert value(samples, "redis_up") == 0
        # What the controller knows is shown, what Redis knows is not.
        for name in ("tasks", "budget_trials_used", "study_state"):
            assert nonzero(samples, name, "study") == nonzero(known, name, "study"), name
        for name in (
            "queue_length",
            "fleet_slots",
            "fleet_heartbeat_age_seconds",
            "event_lag_seconds",
            "best_value",
        ):
            assert value(samples, name) is None, name
        # The loop turns while it waits.
        scraped(
            ours, lambda found: (value(found, "controller_loop_age_seconds") or 9) < 1, "a turn of the loop"
        )
        server.start()
        for port in (ours, theirs):
            becomes(port, "/readyz", 200)
        (cli.folder / "free").touch()
        assert process.wait(60) == 0
        worker_process.terminate()
        assert worker_process.wait(30) == 0
    assert "Traceback" not in (cli.folder / "worker.log").read_text()


def test_one_that_stands_by_is_ready_and_says_so(cli: Cli, server: RedisServer) -> None:
    env = {"REDIS_URL": server.url()}
    first, second = free_port(), free_port()
    sweep = cli.sweep(objective={"function": "obj:waits"}, budget={"max_trials": 1})
    with (
        started("worker", cwd=cli.folder, **env),
        started("controller", "start", sweep, "--metrics-port", str(first), cwd=cli.folder, **env) as acts,
    ):
        becomes(first, "/readyz", 200, "acts on study s")
        with started(
            "controller", "start", sweep, "--metrics-port", str(second), cwd=cli.folder, **env
        ) as other:
            becomes(second, "/readyz", 200, "standing by")
            assert ask(second, "/livez")[0] == 200
            samples = scraped(second, lambda found: value(found, "fleet_slots") == 1, "the worker's slot")
            assert value(samples, "controller_acting") == 0
            for name in ("tasks", "study_state", "budget_trials_used"):
                assert nonzero(samples, name, "study") == {}, name
            assert value(scrape(first), "controller_acting") == 1
            wait_for((cli.folder / "began").exists, "the trial")
            acts.terminate()
            becomes(second, "/readyz", 200, "acts on study s")
            samples = scraped(
                second,
                lambda found: value(found, "tasks", status="in_progress") == 1,
                "the trial, tried again",
            )
            assert value(samples, "tasks", status="stopped", reason="study_stopped") == 1
            assert value(samples, "controller_acting") == 1
            acts.wait(30)
            assert ask(first, "/livez")[0] == 0
            (cli.folder / "free").touch()
            assert other.wait(60) == 0


def test_a_worker_that_drains_or_is_paused_is_not_ready(cli: Cli, server: RedisServer) -> None:
    env = {"REDIS_URL": server.url()}
    ours, theirs = free_port(), free_port()
    sweep = cli.sweep(objective={"function": "obj:waits"}, budget={"max_trials": 1})
    store = Store(connect(server.url()))
    worker = started("worker", "--name", "w", "--metrics-port", str(theirs), cwd=cli.folder, **env)
    with worker as worker_process:
        becomes(theirs, "/readyz", 200)
        store.workers.pause("w", time.time() + 2.5, "a test")
        becomes(theirs, "/readyz", 503, "paused")
        becomes(theirs, "/readyz", 200)
        forged = rq.Queue("default", connection=connect(server.url(), text=False), serializer=JSONSerializer)
        forged.enqueue_call("os.system", args=("true",), timeout=-1)
        scraped(theirs, lambda found: value(found, "worker_jobs_refused_total") == 1, "the refused job")
        options = ("--metrics-port", str(ours))
        with started("controller", "start", sweep, *options, cwd=cli.folder, **env) as process:
            wait_for((cli.folder / "began").exists, "the trial")
            worker_process.terminate()
            becomes(theirs, "/readyz", 503, "draining")
            assert ask(theirs, "/livez")[0] == 200
            assert value(scrape(theirs), "worker_draining") == 1
            scraped(
                ours,
                lambda found: value(found, "fleet_workers", state="draining") == 1,
                "the fleet's view of it",
            )
            (cli.folder / "free").touch()
            assert process.wait(60) == 0
        assert worker_process.wait(30) == 0


def test_a_slot_that_is_killed(cli: Cli, server: RedisServer) -> None:
    """What it ran is lost, and another slot takes its place."""
    env = {"REDIS_URL": server.url()}
    theirs = free_port()
    budget = {"max_trials": 1, "lease": "3s"}
    sweep = cli.sweep(objective={"function": "obj:waits"}, budget=budget)
    with (
        started("worker", "--metrics-port", str(theirs), cwd=cli.folder, **env) as worker,
        started("controller", "start", sweep, cwd=cli.folder, **env) as process,
    ):
        wait_for((cli.folder / "began").exists, "the trial")
        scraped(theirs, lambda found: value(found, "worker_slots_busy") == 1, "the busy slot")
        (slot,) = psutil.Process(worker.pid).children()
        os.kill(slot.pid, signal.SIGKILL)
        scraped(
            theirs,
            lambda found: value(found, "worker_attempts_ended_total", outcome="lost") == 1,
            "the loss of the attempt",
        )
        scraped(
            theirs, lambda found: value(found, "worker_slot_restarts_total") == 1, "the slot in its place"
        )
        becomes(theirs, "/readyz", 200)
        (cli.folder / "free").touch()
        assert process.wait(60) == 0
        samples = scraped(
            theirs,
            lambda found: value(found, "worker_attempts_ended_total", outcome="completed") == 1,
            "the second attempt",
        )
        assert value(samples, "worker_attempts_started_total") == 2


def test_of_an_embedded_study_only_the_controller_listens(cli: Cli) -> None:
    """And it says when its storage is locked."""
    port = free_port()
    sweep = cli.sweep(objective={"function": "obj:waits"}, budget={"max_trials": 2})
    options = ("--workers", "2", "--metrics-port", str(port))
    with started("controller", "start", sweep, *options, cwd=cli.folder) as process:
        becomes(port, "/readyz", 200, "acts on study s")
        samples = scraped(port, lambda found: value(found, "fleet_slots_busy") == 2, "two busy slots")
        assert value(samples, "fleet_workers", state="running") == 2
        assert_socket_is_only_of(process.pid, port, busy=6)
        for child in descendants(process.pid):
            about = psutil.Process(child)
            if "redis" not in about.name():
                assert not [c for c in about.net_connections("inet") if c.status == "LISTEN"], about
        locked = sqlite3.connect(cli.folder / ".optuna-rq" / "optuna.db", timeout=60, isolation_level=None)
        locked.execute("BEGIN EXCLUSIVE")
        (cli.folder / "free").touch()
        becomes(port, "/readyz", 503, "waiting for Optuna's storage")
        assert ask(port, "/livez")[0] == 200
        assert value(scrape(port), "storage_up") == 0
        locked.execute("COMMIT")
        locked.close()
        assert process.wait(60) == 0


# Ports that can't be had


@pytest.mark.parametrize("command", ["worker", "controller"])
def test_a_port_that_cannot_be_had(cli: Cli, command: str) -> None:
    sweep = cli.sweep()
    before = sorted(path.name for path in cli.folder.iterdir())
    argv = ["controller", "start", sweep] if command == "controller" else ["worker"]
    # Nobody is there: the port is tried before anything else is.
    env = {"REDIS_URL": "redis://127.0.0.1:1/0"} if command == "worker" else {}
    with socket.create_server(("127.0.0.1", 0)) as other:
        taken = other.getsockname()[1]
        for text, why in (
            (
                str(taken),
                f"--metrics-port 127.0.0.1:{taken}: another program listens there already; give another port",
            ),
            ("99999", "--metrics-port '99999': give [HOST:]PORT"),
        ):
            done = run(*argv, "--metrics-port", text, cwd=cli.folder, **env)
            assert done.returncode == 2
            lines = done.stderr.strip().splitlines()
            assert len(lines) == 1, lines
            assert lines[0].startswith(f"{command}: {why}")
    assert sorted(path.name for path in cli.folder.iterdir()) == before


def test_a_port_that_needs_rights(cli: Cli) -> None:
    first = int(Path("/proc/sys/net/ipv4/ip_unprivileged_port_start").read_text())
    if first <= 1:
        pytest.skip("everybody may listen on all ports here")
    setpriv = shutil.which("setpriv")
    limits = [setpriv, "--bounding-set=-net_bind_service", "--inh-caps=-net_bind_service"]
    argv = [*(limits if os.geteuid() == 0 else []), str(BIN / "worker"), "--metrics-port", str(first - 1)]
    env = environment(REDIS_URL="redis://127.0.0.1:1/0")
    done = subprocess.run(
        [str(arg) for arg in argv], env=env, cwd=cli.folder, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 2, done.stderr
    assert done.stderr == (
        f"worker: --metrics-port 127.0.0.1:{first - 1}: this user may not listen there; give a port above 1023\n"
    )


# What it costs


def test_scraping_costs_the_loop_nothing_to_speak_of(cli: Cli, server: RedisServer) -> None:
    """In turns of a second the controller and the worker are scraped ten times, and left alone.

    The time of a machine that others use as well varies; so the turns of one and the same run are compared.
    """
    env = {"REDIS_URL": server.url()}
    ours, theirs = free_port(), free_port()
    sweep = cli.sweep(budget={"max_trials": 100_000})
    store = Store(connect(server.url()))
    calls_before = _calls(store, "llen")
    worker = started("worker", "--slots", "2", "--metrics-port", str(theirs), cwd=cli.folder, **env)
    controller = started("controller", "start", sweep, "--metrics-port", str(ours), cwd=cli.folder, **env)
    ended: dict[bool, list[int]] = {True: [], False: []}
    with worker, controller as process:
        becomes(ours, "/readyz", 200, "acts on")
        wait_for(lambda: sum(store.studies.status_counts("s").values()) > 50, "trials")
        began = time.monotonic()
        for turn in range(8):
            scrapes = turn % 2 == 0
            before = _completed(store)
            until = time.monotonic() + 1.0
            while time.monotonic() < until:
                if scrapes:
                    for port in (ours, theirs):
                        scrape(port)
                time.sleep(max(0.0, min(0.1, until - time.monotonic())))
            ended[scrapes].append(_completed(store) - before)
        took = time.monotonic() - began
        calls = _calls(store, "llen") - calls_before
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 130
    # The loop itself never asks for a queue's length: all of these are scrapes', at most one a second.
    assert 1 <= calls <= took + 3, (calls, took)
    # What others do on this machine only ever lowers a turn: the best of each kind are compared.
    assert max(ended[True]) > 0.6 * max(ended[False]), ended


def _completed(store: Store) -> int:
    return int(store.redis.zcard("orq:study:s:status:completed"))


def _calls(store: Store, command: str) -> int:
    about = store.redis.info("commandstats").get(f"cmdstat_{command}", {})
    return int(about.get("calls", 0))


def test_scrapes_at_the_same_time_all_answer(cli: Cli, server: RedisServer) -> None:
    env = {"REDIS_URL": server.url()}
    port = free_port()
    sweep = cli.sweep(budget={"max_trials": 60})
    failures: list[str] = []
    over = threading.Event()

    def scrape_on() -> None:
        while not over.is_set():
            status, text = ask(port, "/metrics")
            if status not in (0, 200) or (
                status == 200 and not re.search(r"^optuna_rq_tasks", text, re.MULTILINE)
            ):
                failures.append(f"{status}, {len(text)} characters: {text[-200:]}")

    with (
        started("worker", "--slots", "2", cwd=cli.folder, **env),
        started("controller", "start", sweep, "--metrics-port", str(port), cwd=cli.folder, **env) as process,
    ):
        becomes(port, "/readyz", 200, "acts on")
        threads = [threading.Thread(target=scrape_on) for _ in range(4)]
        for thread in threads:
            thread.start()
        assert process.wait(90) == 0
        over.set()
        for thread in threads:
            thread.join()
    assert not failures
    assert not alive(process.pid)
