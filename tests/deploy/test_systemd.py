"""The units of ``deploy/systemd``: read by systemd's own tools, and run by a real systemd."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.deploy.commands import parse
from tests.deploy.studies import OBJECTIVE, Watch, write_sweep
from tests.e2e.harness import BIN, wait_for
from tests.redisserver import RedisServer
from tests.s3server import S3Server
from tests.servers import serving
from tests.systemd import Systemd
from worker.protocol import Status
from worker.slot.daemon import REGISTRATION_PERIOD_S

UNITS = Path(__file__).parent.parent.parent / "deploy/systemd"
NAMES = ("worker", "controller")
DROP_INS = sorted(path.name for path in (UNITS / "drop-ins").iterdir())
MOST_EXPOSED = 2.0
"""On the scale of `systemd-analyze security`, from 0 to 10."""
WORKER = "optuna-rq-worker@a"
GRACE_S = 10.0
"""That a task has once it was asked to stop, by default."""
SECRET = "a-secret-of-32-characters-or-more"


def analyze(*arguments: str) -> subprocess.CompletedProcess[str]:
    if shutil.which("systemd-analyze") is None:
        reason = "no systemd-analyze: apt install systemd"
        pytest.fail(reason) if os.environ.get("CI") == "true" else pytest.skip(reason)
    return subprocess.run(
        ["systemd-analyze", *arguments], capture_output=True, text=True, timeout=60, check=False
    )


def copied(name: str, folder: Path, *drop_ins: str) -> Path:
    """A unit whose command exists on this machine, with drop-ins."""
    unit = folder / f"optuna-rq-{name}@.service"
    unit.write_text((UNITS / unit.name).read_text().replace("/opt/optuna-rq/bin/", f"{BIN}/"))
    for drop_in in drop_ins:
        beside = folder / f"{unit.name}.d"
        beside.mkdir(exist_ok=True)
        shutil.copy(UNITS / "drop-ins" / drop_in, beside)
    return unit


@pytest.mark.parametrize("name", NAMES)
def test_units_are_well_formed(name: str, tmp_path: Path) -> None:
    done = analyze("verify", str(copied(name, tmp_path)))
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@pytest.mark.parametrize("drop_in", DROP_INS)
def test_drop_ins_are_well_formed_and_keep_the_units_hard(drop_in: str, tmp_path: Path) -> None:
    for name in NAMES:
        unit = str(copied(name, tmp_path, drop_in))
        done = analyze("verify", unit)
        assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
        assert exposure(unit) <= MOST_EXPOSED


def test_a_mistake_in_a_drop_in_is_seen(tmp_path: Path) -> None:
    unit = copied("worker", tmp_path, "memory.conf")
    (tmp_path / f"{unit.name}.d/memory.conf").write_text("[Service]\nMemoryMaximum=1G\n")
    assert "MemoryMaximum" in analyze("verify", str(unit)).stderr


@pytest.mark.parametrize("name", NAMES)
def test_units_are_hard(name: str, tmp_path: Path) -> None:
    assert exposure(str(copied(name, tmp_path))) <= MOST_EXPOSED


def exposure(unit: str) -> float:
    shown = analyze("security", "--offline=true", "--no-pager", unit).stdout
    found = re.search(r"Overall exposure level for \S+: (\S+)", shown)
    assert found, shown
    return float(found[1])


def settings(name: str, key: str) -> list[str]:
    """All values of a key in a unit."""
    lines = (UNITS / f"optuna-rq-{name}@.service").read_text().splitlines()
    return [line.partition("=")[2] for line in lines if line.startswith(f"{key}=")]


def command_line(name: str) -> dict[str, Any]:
    """The options of a unit's command, as the command itself reads them."""
    (line,) = settings(name, "ExecStart")
    program, *arguments = shlex.split(line.replace("%l", "host").replace("%i", "a"))
    assert program == f"/opt/optuna-rq/bin/{name}"
    assert arguments.pop() == f"${name.upper()}_OPTIONS"
    return parse([name, *arguments])


def test_command_lines_are_understood() -> None:
    assert command_line("worker")["name"] == "host.a"
    assert str(command_line("controller")["sweep"]) == "/etc/optuna-rq/sweeps/a.toml"


def test_a_worker_has_the_time_that_it_needs_to_stop() -> None:
    assert int(settings("worker", "TimeoutStopSec")[0]) >= command_line("worker")["drain_s"] + GRACE_S + 30
    # After a crash, its name is another's until its registration has run out.
    assert int(settings("worker", "RestartSec")[0]) > 3 * REGISTRATION_PERIOD_S


# With a real systemd


@pytest.fixture(scope="module")
def systemd() -> Iterator[Systemd]:
    machine = Systemd()
    try:
        yield from serving(machine)
    finally:
        machine.close()


@pytest.fixture(scope="module")
def redis_server() -> Iterator[RedisServer]:
    with RedisServer(password="s3cret-word", appendonly=True) as server:
        yield server


@pytest.fixture
def watch(systemd: Systemd, redis_server: RedisServer, s3_server: S3Server) -> Iterator[Watch]:
    """Both units installed as the README says, and the study's code where the worker ``a`` looks for it."""
    with redis_server.client() as client:
        client.flushall()
    etc = systemd.etc / "optuna-rq"
    (etc / "sweeps").mkdir(parents=True)
    (etc / "secrets").mkdir(mode=0o700)
    (etc / "secrets/redis.url").write_text(f"{redis_server.url()}\n")
    (etc / "secrets/job.secret").write_text(f"{SECRET}\n")
    keys = f"aws_access_key_id = {s3_server.access_key}\naws_secret_access_key = {s3_server.secret_key}\n"
    (etc / "secrets/aws").write_text(f"[default]\n{keys}")
    s3_server.make_bucket("sweeps")
    store = f"ARTIFACT_STORE=s3://sweeps\nAWS_ENDPOINT_URL_S3={s3_server.endpoint}\nAWS_DEFAULT_REGION=us-east-1\n"
    for name in NAMES:
        unit = systemd.units / f"optuna-rq-{name}@.service"
        shutil.copy(UNITS / unit.name, unit)
        (systemd.units / f"{unit.name}.d").mkdir()
        shutil.copy(UNITS / "drop-ins/s3.conf", systemd.units / f"{unit.name}.d")
        (etc / f"{name}.env").write_text(store)
    # A unit that others name isn't forgotten once it has ended, and can be asked how.
    sweeps = ("quick", "slow", "more", "hard", "wrong", "look")
    named = [f"{WORKER}.service", *(f"optuna-rq-controller@{sweep}.service" for sweep in sweeps)]
    (systemd.units / "multi-user.target.d").mkdir(exist_ok=True)
    (systemd.units / "multi-user.target.d/named.conf").write_text(f"[Unit]\nAfter={' '.join(named)}\n")
    code = systemd.state / "optuna-rq/worker-a"
    code.mkdir(parents=True)
    (code / "objective.py").write_text(OBJECTIVE)
    assert systemd.systemctl("daemon-reload").returncode == 0
    yield Watch(redis_server.url())
    systemd.systemctl("kill", "--signal=SIGKILL", "optuna-rq-*")
    systemd.systemctl("stop", "optuna-rq-*")
    systemd.systemctl("reset-failed")
    for path in (etc, systemd.state / "optuna-rq", *systemd.units.glob("optuna-rq-*.d")):
        shutil.rmtree(path)


def start(systemd: Systemd, unit: str) -> None:
    done = systemd.systemctl("start", unit)
    assert done.returncode == 0, done.stderr


def state(systemd: Systemd, unit: str) -> tuple[str, str, str]:
    """Its state, the exit code of its process, and how often it was started again."""
    return tuple(systemd.shown(unit, name) for name in ("ActiveState", "ExecMainStatus", "NRestarts"))


def ended(systemd: Systemd, unit: str) -> tuple[str, str, str]:
    """Its state once nothing of it runs."""
    wait_for(lambda: systemd.shown(unit, "ActiveState") in ("inactive", "failed"), f"the end of {unit}")
    return state(systemd, unit)


def test_a_study_runs_to_its_end(systemd: Systemd, watch: Watch) -> None:
    write_sweep(systemd.etc / "optuna-rq/sweeps/quick.toml", trials=3, epochs=2, pause_s=0.1)
    start(systemd, WORKER)
    wait_for(lambda: watch.store.workers.list("default"), "the worker")
    start(systemd, "optuna-rq-controller@quick")
    tasks = watch.completed(3)
    # Neither sees the other's process, and the controller doesn't take its worker for dead.
    assert "no worker serves" not in systemd.journal("optuna-rq-controller@quick")
    assert watch.store.workers.list("default")
    assert ended(systemd, "optuna-rq-controller@quick") == ("inactive", "0", "0")
    host = os.uname().nodename.split(".")[0]
    assert {task.worker for task in tasks} == {f"{host}.a/0"}
    # An account of its own ran them, and an hour later nobody knows a secret from looking at it.
    assert re.search(r"begins at 0 as [1-9]\d*", watch.store.logs.read(tasks[0].id)[0])
    pid = systemd.pid_of(WORKER)
    public = systemd.systemctl("show", WORKER).stdout + systemd.systemctl("cat", WORKER).stdout
    for path in ("environ", "cmdline"):
        public += Path(f"/proc/{pid}/{path}").read_text()
    assert "REDIS_URL_FILE=/run/credentials/" in public
    for secret in (SECRET, "s3cret-word", S3Server.secret_key):
        assert secret not in public
        assert secret not in systemd.journal(WORKER)
    # The controller's events are in the journal, one JSON object in each line.
    lines = systemd.journal("optuna-rq-controller@quick").splitlines()
    events = [json.loads(line)["event"] for line in lines if line.startswith("{")]
    assert len(events) > 3
    assert systemd.systemctl("stop", WORKER).returncode == 0
    assert state(systemd, WORKER) == ("inactive", "0", "0")


def test_stopping_lets_a_trial_finish_and_hands_back_another(systemd: Systemd, watch: Watch) -> None:
    write_sweep(systemd.etc / "optuna-rq/sweeps/slow.toml", trials=2, epochs=6, pause_s=0.4, concurrent=1)
    start(systemd, WORKER)
    start(systemd, "optuna-rq-controller@slow")
    first = watch.running(2)
    assert systemd.systemctl("stop", WORKER).returncode == 0
    assert watch.store.tasks.get(first.id).status is Status.COMPLETED
    # Now with less patience than a trial takes.
    (systemd.etc / "optuna-rq/worker-a.env").write_text("WORKER_OPTIONS=--drain 0.5\n")
    start(systemd, WORKER)
    second = watch.running(2)
    assert systemd.systemctl("stop", WORKER).returncode == 0
    assert state(systemd, WORKER) == ("inactive", "0", "0")
    assert watch.handed_back(second).status is Status.QUEUED
    start(systemd, WORKER)
    tasks = watch.completed(2)
    assert [(task.attempt, task.handed_back) for task in tasks] == [(1, 0), (2, 1)]
    (_, zero), (_, later) = watch.begins(second)
    assert zero == 0 < later
    assert ended(systemd, "optuna-rq-controller@slow") == ("inactive", "0", "0")


def test_a_controller_that_is_stopped_leaves_what_runs_and_goes_on_later(
    systemd: Systemd, watch: Watch
) -> None:
    unit = "optuna-rq-controller@more"
    write_sweep(systemd.etc / "optuna-rq/sweeps/more.toml", trials=3, epochs=3, pause_s=0.4)
    start(systemd, WORKER)
    start(systemd, unit)
    watch.running(2)
    assert systemd.systemctl("stop", unit).returncode == 0
    assert state(systemd, unit) == ("inactive", "130", "0")
    start(systemd, unit)
    assert ended(systemd, unit) == ("inactive", "0", "0")
    assert [(task.status, task.attempt) for task in watch.tasks()] == [(Status.COMPLETED, 1)] * 3


def test_what_was_killed_is_started_again_and_goes_on(systemd: Systemd, watch: Watch) -> None:
    write_sweep(systemd.etc / "optuna-rq/sweeps/hard.toml", trials=1, epochs=6, pause_s=0.5)
    unit = "optuna-rq-controller@hard"
    start(systemd, WORKER)
    start(systemd, unit)
    task = watch.running(3)
    for name in (WORKER, unit):
        os.kill(systemd.pid_of(name), signal.SIGKILL)
    wait_for(lambda: systemd.shown(WORKER, "NRestarts") == "1", "the worker's restart", 40.0)
    (done,) = watch.completed(1, 90.0)
    assert (done.id, done.attempt) == (task.id, 2)
    assert watch.begins(task)[1][1] > 0
    assert ended(systemd, unit) == ("inactive", "0", "1")
    assert state(systemd, WORKER)[0] == "active"


def test_bad_input_is_said_once_and_not_tried_again(systemd: Systemd, watch: Watch) -> None:
    (systemd.etc / "optuna-rq/secrets/job.secret").write_text("short\n")
    (systemd.etc / "optuna-rq/sweeps/wrong.toml").write_text("[study]\nnaem = 1\n")
    quickly = "[Service]\nRestartSec=0.1\n"
    for name, unit, said in (
        ("worker", WORKER, "OPTUNA_RQ_SECRET: 5 characters"),
        ("controller", "optuna-rq-controller@wrong", "study.naem: unknown key"),
    ):
        (systemd.units / f"optuna-rq-{name}@.service.d/quickly.conf").write_text(quickly)
        systemd.systemctl("daemon-reload")
        start(systemd, unit)
        assert ended(systemd, unit) == ("failed", "2", "0")
        time.sleep(1.0)
        assert state(systemd, unit) == ("failed", "2", "0")
        assert systemd.journal(unit).count(said) == 1


def test_workers_and_controllers_wait_for_their_redis(
    systemd: Systemd, watch: Watch, redis_server: RedisServer
) -> None:
    unit = "optuna-rq-controller@early"
    write_sweep(systemd.etc / "optuna-rq/sweeps/early.toml", trials=1, epochs=1, pause_s=0)
    redis_server.stop()
    try:
        for each in (WORKER, unit):
            start(systemd, each)
        for each in (WORKER, unit):
            wait_for(lambda each=each: "connection refused" in systemd.journal(each), "its complaint")
    finally:
        redis_server.start()
    assert ended(systemd, unit) == ("inactive", "0", "0")
    assert state(systemd, WORKER) == ("active", "0", "0")


def test_the_rest_of_the_machine_is_out_of_reach(systemd: Systemd, watch: Watch) -> None:
    looks = {
        "home": "not os.path.exists('/root/.profile') or bool(os.listdir('/root'))",
        "etc": "not writes('/etc/orq')",
        "var": "not writes('/var/orq')",
        "dev": "not os.path.exists('/dev/kmsg')",
        "secrets": "not reads('/etc/optuna-rq/secrets/redis.url')",
        "processes": "[p for p in os.listdir('/proc') if p == '1'] == []",
        "namespaces": "ctypes.CDLL(None).unshare(0x10000000) == -1",
        "own folder": "writes('here')",
        "temporary files": "writes(os.environ['TMPDIR'] + '/x') and writes('/tmp/x')",
        "threads": "len(os.sched_getaffinity(0)) > 0 and os.sched_setaffinity(0, os.sched_getaffinity(0)) is None",
    }
    (systemd.state / "optuna-rq/worker-a/objective.py").write_text(f"""
import ctypes, os

def reads(path):
    try:
        return bool(open(path).read())
    except OSError:
        return False

def writes(path):
    try:
        open(path, "w").close()
        return True
    except OSError:
        return False

def train(task, **parameters):
    wrong = [name for name, look in {looks!r}.items() if not eval(look)]
    assert not wrong, wrong
    return 1.0
""")
    write_sweep(systemd.etc / "optuna-rq/sweeps/look.toml", trials=1, epochs=1, pause_s=0)
    start(systemd, WORKER)
    start(systemd, "optuna-rq-controller@look")
    watch.completed(1)
