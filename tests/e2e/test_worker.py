"""The worker with real processes: how trials end, how they are stopped, what survives what."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import stat
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
import redis as redis_py
import rq
from rq.serializers import JSONSerializer

from tests.e2e.harness import Bench, alive, assert_nothing_left, descendants, run, serving, started, wait_for
from tests.redisserver import RedisServer
from worker.protocol import Reason, Status
from worker.protocol.events import EventKind

pytestmark = pytest.mark.real_start

FUNCTIONS = """
import os, signal, subprocess, sys, threading, time
from pathlib import Path

def value(task): return 1.5
def reports(task):
    for i in range(4):
        task.report_scalar("loss", "", 10 - i, i)
def both(task):
    task.report_scalar("loss", "", 3, 0)
    return {"loss": 2, "other/x": 7}
def silent(task):
    task.report_scalar("other", "x", 1, 0)
def nan(task): return float("nan")
def wrong(task): return "many"
def text(task): return {"loss": "0.3"}
def fails(task):
    deep()
def deep():
    raise KeyError("no such thing")
def memory(task): raise MemoryError("too much")
def leaves(task): sys.exit(0)
def leaves3(task): sys.exit(3)
def shoots(task): os.kill(os.getpid(), signal.SIGKILL)
def exits(task): os._exit(5)
def gives_up(task):
    from worker import TaskPruned
    task.report_scalar("loss", "", 3, 0)
    raise TaskPruned("hopeless")

def slow(task, seconds=60):
    try:
        for i in range(int(float(seconds) * 20)):
            task.report_scalar("loss", "", 100 - i, i)
            time.sleep(0.05)
    finally:
        Path("cleaned-up").write_text(task.id)
def busy(task):
    task.report_scalar("loss", "", 1, 0)
    try:
        while True:
            sum(range(100))
    finally:
        Path("cleaned-up").write_text(task.id)
def stubborn(task):
    child = subprocess.Popen(["sleep", "300"])
    grandchild = subprocess.run(
        ["bash", "-c", "setsid sleep 301 >/dev/null 2>&1 & echo $!"], capture_output=True, text=True
    )
    Path("pids").write_text(f"{child.pid} {grandchild.stdout.strip()}")
    task.report_scalar("loss", "", 1, 0)
    while True:
        try:
            time.sleep(1)
        except BaseException:
            pass

def says(task, text):
    print(text)
    print("to stderr", file=sys.stderr)
    os.write(1, b"raw \\xff bytes\\n")
    subprocess.run(["echo", "from a child"])
    return 0
def pid(task):
    task.report_scalar("pid", "", os.getpid(), 0)
    return 0
def changes_things(task):
    os.environ["LEFT_BEHIND"] = "1"
    os.chdir("/")
    sys.argv.append("left-behind")
    return os.getpid()
def sees_things(task):
    clean = "LEFT_BEHIND" not in os.environ and os.getcwd() != "/" and "left-behind" not in sys.argv
    return {"loss": os.getpid(), "clean": float(clean)}
def leaves_thread(task):
    threading.Thread(target=time.sleep, args=(300,), daemon=True).start()
    return os.getpid()
def environment(task):
    print(sorted(name for name in os.environ if "REDIS" in name or "STORAGE" in name))
    return 0
def chance(task):
    import random
    return random.random()
"""


@pytest.fixture(scope="module")
def server() -> Iterator[RedisServer]:
    # Synced at each write: once a second, a server under load may forget what it has just acknowledged.
    with RedisServer(password="s3cret-word", appendonly=True, config=["appendfsync always"]) as server:
        yield server


@pytest.fixture
def bench(server: RedisServer, tmp_path: Path) -> Bench:
    with server.client() as client:
        client.flushall()
    made = Bench(server.url(), tmp_path)
    made.module("fn.py", FUNCTIONS)
    return made


@pytest.fixture
def worker(bench: Bench, request: pytest.FixtureRequest) -> Iterator[Any]:
    """A worker with one slot; ``@pytest.mark.parametrize("worker", [[...options]], indirect=True)`` adds options."""
    with serving(bench, *getattr(request, "param", [])) as process:
        yield process


def test_ends_of_functions_are_told_apart(bench: Bench, worker: Any) -> None:
    expected: dict[str, tuple[Status, Reason | None, str]] = {
        "value": (Status.COMPLETED, None, ""),
        "reports": (Status.COMPLETED, None, ""),
        "both": (Status.COMPLETED, None, ""),
        "silent": (Status.FAILED, Reason.INVALID_VALUE, "it reported other/x"),
        "nan": (Status.FAILED, Reason.INVALID_VALUE, "nan"),
        "wrong": (Status.FAILED, Reason.INVALID_VALUE, "returned 'many', which is text"),
        "text": (Status.FAILED, Reason.INVALID_VALUE, "returned {'loss': '0.3'}, where '0.3' is text"),
        "fails": (Status.FAILED, Reason.OBJECTIVE_ERROR, "KeyError: 'no such thing'"),
        "memory": (Status.FAILED, Reason.OUT_OF_MEMORY, "MemoryError"),
        "leaves": (Status.FAILED, Reason.INVALID_VALUE, "it reported nothing"),
        "leaves3": (Status.FAILED, Reason.OBJECTIVE_ERROR, "sys.exit(3)"),
        "shoots": (Status.FAILED, Reason.OBJECTIVE_ERROR, "SIGKILL"),
        "exits": (Status.FAILED, Reason.OBJECTIVE_ERROR, "code 5"),
        "gives_up": (Status.STOPPED, Reason.PRUNED, "hopeless"),
        "missing": (Status.FAILED, Reason.LAUNCH_ERROR, "has no 'missing'"),
    }
    ids = {name: bench.submit(f"fn:{name}") for name in expected}
    for name, (status, reason_class, text) in expected.items():
        task = bench.ended(ids[name])
        assert (task.status, task.reason_class) == (status, reason_class), (name, task.reason)
        assert text in task.reason, name
    error = bench.store.tasks.get(ids["fails"]).error
    assert error.startswith("Traceback")
    assert "in deep" in error
    assert "worker/runner/main.py" not in error
    scalars = bench.store.reports.scalars([ids["reports"], ids["both"], ids["value"]])
    assert (scalars[0]["loss"].last, scalars[0]["loss"].count) == (7.0, 4)
    assert (scalars[1]["loss"].last, scalars[1]["other/x"].last) == (2.0, 7.0)
    assert scalars[2]["loss"].iterations == 1
    kinds = [event.kind for event in bench.store.events.read("bench", "0-0", None)[0]]
    assert kinds.count(EventKind.ENDED) == len(expected)


SCRIPT = """
import argparse, sys, time
from types import SimpleNamespace
from worker import Logger, Task

task = Task.init(project_name="p", task_name="n")
defaults = {"lr": 0.5, "layers": 1, "flag": False, "name": "a", "untouched": 9, "items": [1]}
task.connect(defaults)
parser = argparse.ArgumentParser()
parser.add_argument("--momentum", type=float, default=0.1)
namespace = parser.parse_args([])
task.connect(namespace)
later = argparse.ArgumentParser()
later.add_argument("--depth", type=int, default=1)
task.connect(later)
print(repr(sorted(defaults.items())), namespace.momentum, later.parse_args([]).depth)
if "--fail" in sys.argv:
    raise ValueError("as told")
if "--sleep" in sys.argv:
    try:
        while True:
            time.sleep(0.05)
            Logger.current_logger().report_scalar("loss", "", 1.0, 0)
    finally:
        open("script-cleaned-up", "w").close()
for i in range(3):
    Logger.current_logger().report_scalar("loss", "", 1.0 / (i + 1), iteration=i)
"""


def test_scripts_the_clearml_way(bench: Bench, worker: Any) -> None:
    bench.module("train.py", SCRIPT)
    parameters = {
        "General/lr": 0.25,
        "layers": 3.0,
        "flag": "true",
        "General/name": "b",
        "items": [1, 2],
        "Args/momentum": "0.75",
        "depth": 4,
    }
    good = bench.submit({"kind": "script", "path": "train.py"}, parameters=parameters)
    bad = bench.submit({"kind": "script", "path": "train.py", "args": ["--fail"]})
    missing = bench.submit({"kind": "script", "path": "nowhere.py"})
    task = bench.ended(good)
    assert task.status is Status.COMPLETED, (task.reason, bench.output(good))
    assert bench.output(good).strip() == (
        "[('flag', True), ('items', [1, 2]), ('layers', 3), ('lr', 0.25), ('name', 'b'), ('untouched', 9)] 0.75 4"
    )
    assert bench.store.reports.scalars([good])[0]["loss"].count == 3
    task = bench.ended(bad)
    assert (task.reason_class, task.reason) == (
        Reason.OBJECTIVE_ERROR,
        "exited with code 1: ValueError: as told",
    )
    assert task.error.startswith("Traceback")
    assert bench.ended(missing).reason_class is Reason.LAUNCH_ERROR


def test_commands_in_any_language(bench: Bench, worker: Any) -> None:
    bench.module("child.py", "from worker import Task\nTask.init().report_scalar('inner', 'x', 5, 0)\n")
    script = 'for i in 0 1 2; do echo "step $i: loss=$1.$i iteration=$i"; done; echo "loss=9 on stderr" >&2; "$2" child.py'
    good = bench.submit(
        {"kind": "command", "argv": ["bash", "-c", script, "name", "{x}", str(Path(sys.executable))]},
        parameters={"x": 4},
    )
    tool = bench.folder / "tool"
    tool.write_text("#!/bin/sh\nkill -TERM $$\n")
    not_executable = bench.submit({"kind": "command", "argv": ["./tool"]})
    not_there = bench.submit({"kind": "command", "argv": ["surely-not-a-program"]})
    exit_code = bench.submit({"kind": "command", "argv": ["bash", "-c", "echo the end >&2; exit 4"]})
    task = bench.ended(good)
    assert task.status is Status.COMPLETED, (task.reason, bench.output(good))
    scalars = bench.store.reports.scalars([good])[0]
    assert (scalars["loss"].last, scalars["loss"].iterations) == (4.2, 3)
    assert scalars["inner/x"].last == 5
    assert "loss=9 on stderr" in bench.output(good)
    assert "not executable" in bench.ended(not_executable).reason
    assert "PATH" in bench.ended(not_there).reason
    task = bench.ended(exit_code)
    assert (task.reason_class, task.reason) == (Reason.OBJECTIVE_ERROR, "exited with code 4: the end")
    tool.chmod(tool.stat().st_mode | stat.S_IXUSR)
    assert "SIGTERM" in bench.ended(bench.submit({"kind": "command", "argv": ["./tool"]})).reason


@pytest.mark.parametrize("name", ["slow", "busy"])
def test_a_stopped_function_cleans_up(bench: Bench, worker: Any, name: str) -> None:
    task_id = bench.submit(f"fn:{name}")
    bench.reported(task_id)
    asked = time.monotonic()
    bench.store.transitions.request_stop(task_id, Reason.PRUNED, "no hope")
    task = bench.ended(task_id)
    assert time.monotonic() - asked < 2.0  # long before its grace period is over
    assert (task.status, task.reason_class, task.reason) == (Status.STOPPED, Reason.PRUNED, "no hope")
    assert (bench.folder / "cleaned-up").read_text() == task_id
    assert bench.ended(bench.submit("fn:value")).status is Status.COMPLETED


def test_a_stopped_script_cleans_up(bench: Bench, worker: Any) -> None:
    bench.module("train.py", SCRIPT)
    task_id = bench.submit({"kind": "script", "path": "train.py", "args": ["--sleep"]})
    bench.reported(task_id)
    bench.store.transitions.request_stop(task_id, Reason.USER, "enough")
    assert bench.ended(task_id).reason == "enough"
    assert (bench.folder / "script-cleaned-up").exists()


def test_a_program_that_will_not_stop_is_killed_with_its_tree(bench: Bench, worker: Any) -> None:
    task_id = bench.submit("fn:stubborn", grace_s=1.0)
    bench.reported(task_id)
    pids = [int(text) for text in (bench.folder / "pids").read_text().split()]
    assert all(alive(pid) for pid in pids)
    bench.store.transitions.request_stop(task_id, Reason.USER, "enough")
    task = bench.ended(task_id)
    assert (task.status, task.reason_class) == (Status.STOPPED, Reason.USER)
    assert "killed" in task.reason
    wait_for(lambda: not any(alive(pid) for pid in pids), "the end of its children", 10.0)
    assert bench.ended(bench.submit("fn:value")).status is Status.COMPLETED


def test_a_queued_task_that_is_stopped_never_runs(bench: Bench) -> None:
    task_id = bench.submit("fn:value")
    bench.store.transitions.request_stop(task_id, Reason.USER, "never mind")
    with started("worker", "--burst", cwd=bench.folder, REDIS_URL=bench.url) as process:
        assert process.wait(30) == 0
    task = bench.store.tasks.get(task_id)
    assert (task.status, task.started_at) == (Status.STOPPED, None)


def test_the_worker_keeps_the_time_limit(bench: Bench, worker: Any) -> None:
    task = bench.ended(bench.submit("fn:slow", time_limit_s=0.5))
    assert (task.status, task.reason_class) == (Status.STOPPED, Reason.TIME_LIMIT)
    assert 0.5 <= task.compute_s < 3.0


def slot_of(worker: Any) -> int:
    return next(
        p.pid for p in psutil.Process(worker.pid).children() if "worker.slot" in " ".join(p.cmdline())
    )


def test_a_killed_slot_takes_its_program_along_and_is_replaced(bench: Bench, worker: Any) -> None:
    task_id = bench.submit("fn:slow")
    bench.reported(task_id)
    slot = slot_of(worker)
    below = descendants(slot)
    os.kill(slot, signal.SIGKILL)
    wait_for(lambda: not any(alive(pid) for pid in below), "the end of the program", 10.0)
    wait_for(lambda: not bench.store.tasks.leases([task_id])[0], "the end of the lease", 10.0)
    assert bench.store.tasks.get(task_id).status is Status.IN_PROGRESS  # whoever looks after it decides
    assert bench.ended(bench.submit("fn:value")).status is Status.COMPLETED


def test_a_killed_worker_leaves_nothing(bench: Bench, worker: Any) -> None:
    task_id = bench.submit("fn:stubborn")
    bench.reported(task_id)
    below = [pid for pid in descendants(worker.pid) if "sleep" not in psutil.Process(pid).name()]
    worker.kill()
    wait_for(lambda: not any(alive(pid) for pid in below), "the end of slot and program", 10.0)
    for text in (bench.folder / "pids").read_text().split():
        with contextlib.suppress(ProcessLookupError):
            os.kill(int(text), signal.SIGKILL)


def test_rqs_keys_stay_where_they_are(bench: Bench) -> None:
    """RQ 3 would move them away from ACL rules, autoscalers and workers on RQ 2."""
    with started("worker", cwd=bench.folder, REDIS_URL=bench.url, RQ_KEY_PREFIX="moved"):
        assert bench.ended(bench.submit("fn:value")).status is Status.COMPLETED
        keys = bench.store.redis.keys("*")
        assert [key for key in keys if key.startswith("rq:worker:")]
        assert [key for key in keys if key.startswith("moved")] == []


def test_a_killed_program_is_told_apart_and_the_slot_goes_on(bench: Bench, worker: Any) -> None:
    task_id = bench.submit("fn:slow")
    bench.reported(task_id)
    for pid in descendants(slot_of(worker)):
        os.kill(pid, signal.SIGKILL)
    task = bench.ended(task_id)
    assert (task.reason_class, task.reason) == (Reason.OBJECTIVE_ERROR, "its process was killed by SIGKILL")
    assert bench.ended(bench.submit("fn:value")).status is Status.COMPLETED


def test_a_late_attempt_is_fenced(bench: Bench, worker: Any) -> None:
    task_id = bench.submit("fn:slow", parameters={"seconds": 3})
    bench.reported(task_id, 3)
    bench.store.transitions.requeue(task_id, 1, reason="taken for lost")
    with started("worker", "--name", "second", cwd=bench.folder, REDIS_URL=bench.url):
        bench.enqueue(task_id, 2)
        task = bench.ended(task_id)
    assert (task.status, task.attempt) == (Status.COMPLETED, 2)
    points = bench.store.reports.series(task_id)["loss"]
    assert [iteration for iteration, _, _ in points] == list(range(60))
    ends = [e for e in bench.store.events.read("bench", "0-0", None)[0] if e.kind is EventKind.ENDED]
    assert [end.attempt for end in ends] == [2]


@pytest.mark.parametrize("ends_meanwhile", [False, True])
def test_redis_may_go_away(server: RedisServer, bench: Bench, worker: Any, ends_meanwhile: bool) -> None:
    task_id = bench.submit("fn:slow", parameters={"seconds": 1.5 if ends_meanwhile else 5}, lease_s=20.0)
    bench.reported(task_id, 5)
    time.sleep(1.2)  # longer than the server takes to write to disk
    server.kill()
    try:
        time.sleep(2.5)
    finally:
        server.start()
    task = bench.ended(task_id)
    assert task.status is Status.COMPLETED
    count = 30 if ends_meanwhile else 100
    assert [point[0] for point in bench.store.reports.series(task_id)["loss"]] == list(range(count))
    ends = [e for e in bench.store.events.read("bench", "0-0", None)[0] if e.kind is EventKind.ENDED]
    assert len(ends) == 1
    assert bench.ended(bench.submit("fn:value")).status is Status.COMPLETED


@pytest.mark.parametrize("worker", [["--drain", "20"]], indirect=True)
def test_the_first_signal_lets_a_trial_finish(bench: Bench, worker: Any) -> None:
    task_id = bench.submit("fn:slow", parameters={"seconds": 1.5})
    waiting = bench.submit("fn:value")
    bench.reported(task_id)
    worker.terminate()
    assert worker.wait(20) == 0
    assert bench.store.tasks.get(task_id).status is Status.COMPLETED
    assert bench.store.tasks.get(waiting).status is Status.QUEUED
    assert bench.store.workers.list() == []


@pytest.mark.parametrize(
    ("worker", "signals"), [(["--drain", "0.2"], 1), (["--drain", "60"], 2)], indirect=["worker"]
)
def test_a_trial_that_does_not_finish_is_handed_back(bench: Bench, worker: Any, signals: int) -> None:
    task_id = bench.submit("fn:slow")
    bench.reported(task_id)
    for _ in range(signals):
        os.killpg(worker.pid, signal.SIGINT)  # as Ctrl-C in a terminal
        time.sleep(0.3)
    assert worker.wait(20) == 0
    task = bench.store.tasks.get(task_id)
    assert (task.status, task.attempt) == (Status.QUEUED, 2)
    assert "handed back" in task.reason
    assert task.compute_s > 0
    assert EventKind.REQUEUED in [e.kind for e in bench.store.events.read("bench", "0-0", None)[0]]


def test_an_idle_worker_ends_at_once(bench: Bench, worker: Any) -> None:
    wait_for(lambda: descendants(worker.pid), "the slot")
    time.sleep(0.5)
    worker.terminate()
    assert worker.wait(10) == 0
    assert_nothing_left(bench.folder)


def test_a_runner_stays_warm_as_long_as_it_is_sound(bench: Bench, worker: Any) -> None:
    def pid_of(target: str) -> float:
        task_id = bench.submit(target)
        bench.ended(task_id)
        return bench.store.reports.scalars([task_id])[0]["loss"].last

    bench.module(
        "same.py",
        FUNCTIONS.replace("def pid(task):", "def unused(task):") + "\ndef pid(task): return os.getpid()\n",
    )
    first = pid_of("same:pid")
    assert pid_of("same:pid") == first
    (bench.folder / "same.py").write_text((bench.folder / "same.py").read_text() + "\n# changed\n")
    changed = pid_of("same:pid")
    assert changed != first
    assert pid_of("same:changes_things") == pid_of("same:changes_things")
    task_id = bench.submit("same:sees_things")
    bench.ended(task_id)
    assert bench.store.reports.scalars([task_id])[0]["clean"].last == 1.0
    assert pid_of("same:leaves_thread") != pid_of("same:leaves_thread")
    assert pid_of("same:chance") != pid_of("same:chance")


def test_output_goes_to_its_own_trials_log(bench: Bench, worker: Any) -> None:
    ids = [bench.submit("fn:says", parameters={"text": text}) for text in ("first", "second")]
    for task_id, text in zip(ids, ("first", "second"), strict=True):
        bench.ended(task_id)
        assert sorted(bench.output(task_id).splitlines()) == sorted(
            [text, "to stderr", "raw \ufffd bytes", "from a child"]
        )


def test_resources_are_sampled_for_short_trials(bench: Bench, worker: Any) -> None:
    task_id = bench.submit("fn:slow", parameters={"seconds": 1.2})
    bench.ended(task_id)
    scalars = bench.store.reports.scalars([task_id])[0]
    for series in ("cpu_usage", "memory_used_gb", "process_memory_gb"):
        assert scalars[f":monitor:machine/{series}"].last > 0, series


def test_nothing_but_our_entry_function_is_run(bench: Bench, worker: Any) -> None:
    mark = bench.folder / "was-run"
    connection = redis_py.Redis.from_url(bench.url)
    plain = rq.Queue("default", connection=connection, serializer=JSONSerializer)
    plain.enqueue_call("os.system", args=(f"touch {mark}",), timeout=-1)
    plain.enqueue_call("worker.slot.run_attempt", args=("x; touch y", 1), timeout=-1)
    plain.enqueue_call("worker.slot.run_attempt", args=("0" * 32, 1), kwargs={"a": 1}, timeout=-1)
    plain.enqueue_call("worker.slot.run_attempt", args=("0" * 32, 1), timeout=-1)  # no such task
    pickled = rq.Queue("default", connection=connection)
    pickled.enqueue_call(os.system, args=(f"touch {mark}",), timeout=-1)
    called_back = plain.enqueue_call(
        "worker.slot.run_attempt",
        args=(bench.submit("fn:value"), 1),
        timeout=-1,
        on_success=rq.job.Callback("os.getcwd"),
    )
    assert called_back is not None
    assert bench.ended(bench.submit("fn:value")).status is Status.COMPLETED
    assert not mark.exists()


def test_secrets_stay_with_the_worker(bench: Bench, worker: Any) -> None:
    task_id = bench.submit("fn:environment")
    busy = bench.submit("fn:slow", parameters={"seconds": 1})
    bench.ended(task_id)
    assert bench.output(task_id).strip() == "[]"
    bench.running(busy)
    seen = 0
    for pid in [worker.pid, *descendants(worker.pid)]:
        with contextlib.suppress(psutil.Error):  # one that has just ended
            assert "s3cret-word" not in " ".join(psutil.Process(pid).cmdline())
            seen += 1
    assert seen >= 2
    bench.ended(busy)
    assert "s3cret-word" not in (bench.folder / "worker.log").read_text()


def test_many_reports_all_arrive_and_cost_little(bench: Bench, worker: Any) -> None:
    bench.module(
        "many.py",
        "import time\n"
        "def train(task):\n"
        "    start = time.perf_counter()\n"
        "    for i in range(10000):\n"
        "        task.report_scalar('loss', '', 1.0, i)\n"
        "    return {'loss': 1.0, 'seconds': time.perf_counter() - start}\n",
    )
    task_id = bench.submit("many:train")
    bench.ended(task_id)
    scalars = bench.store.reports.scalars([task_id])[0]
    assert (scalars["loss"].count, scalars["loss"].iterations) == (10000, 10000)
    with redis_py.Redis.from_url(bench.url) as client:
        start = time.perf_counter()
        for i in range(2000):
            with client.pipeline() as pipe:
                pipe.xadd("reference", {"i": i})
                pipe.hset("reference-last", "i", i)
                pipe.execute()
        reference = (time.perf_counter() - start) * 5
    assert scalars["seconds"].last < 0.5 * reference


@pytest.mark.parametrize(
    ("arguments", "url", "message"),
    [
        ([], None, "no Redis named and no .optuna-rq/"),
        ([], "redis://127.0.0.1:1/0", "connection refused"),
        ([], "redis://:wrong@{host}/0", "wrong or missing password"),
        ([], "redis://{host}/0", "password"),
        ([], "redis://:s3cret-word@{host}/99", "no such database"),
        ([], "nonsense", "Redis URL"),
        (["--slots", "0"], "redis://:s3cret-word@{host}/0", "--slots 0"),
        (["--queue", "a b"], "redis://:s3cret-word@{host}/0", "queue name 'a b'"),
        (["--slots", "x"], None, "--slots"),
    ],
)
def test_what_a_worker_can_not_start_with(
    server: RedisServer, tmp_path: Path, arguments: list[str], url: str | None, message: str
) -> None:
    env = {"REDIS_URL": url.format(host=f"127.0.0.1:{server.port}")} if url else {}
    done = run("worker", *arguments, cwd=tmp_path, **env)
    assert done.returncode == (1 if message == "connection refused" else 2), done.stderr  # it may come
    assert message in done.stderr
    assert "Traceback" not in done.stderr
    assert "s3cret-word" not in done.stderr
    assert_nothing_left(tmp_path)


def test_two_workers_can_not_share_a_name(bench: Bench) -> None:
    with started("worker", "--name", "twin", cwd=bench.folder, REDIS_URL=bench.url):
        wait_for(lambda: bench.store.workers.list(), "the worker")
        done = run("worker", "--name", "twin", cwd=bench.folder, REDIS_URL=bench.url)
    assert done.returncode == 2
    assert re.search(r"named 'twin' is running already.*--name", done.stderr)


def test_help_and_version(tmp_path: Path) -> None:
    helped = run("worker", "--help", cwd=tmp_path)
    assert helped.returncode == 0
    for option in ("--queue", "--slots", "--redis", "--artifacts", "--burst", "--drain", "REDIS_URL"):
        assert option in helped.stdout
    assert run("worker", "--version", cwd=tmp_path).stdout.startswith("worker (optuna-rq)")
