"""Real processes for the end-to-end tests: commands, workers, tasks, and what is left of them."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import psutil
from click.testing import CliRunner

from tests import forkserver
from worker.protocol import ObjectiveMetric, Sign, Status, Store, TaskRecord, TaskSpec, new_task_id
from worker.protocol.connection import connect
from worker.protocol.transport import TaskQueue

T = TypeVar("T")

BIN = Path(sys.executable).parent
DEADLINE_S = 60.0
LOSS = ObjectiveMetric(title="loss", series="", sign=Sign.MIN)
_OURS = ("REDIS_URL", "OPTUNA_STORAGE", "ARTIFACT_STORE", "PYTHONPATH")


def wait_for(condition: Callable[[], T | None], what: str, deadline_s: float = DEADLINE_S) -> T:
    """The first true value of `condition()`; fails when there is none in time."""
    end = time.monotonic() + deadline_s
    while True:
        found = condition()
        if found:
            return found
        assert time.monotonic() < end, f"waited {deadline_s:g} s in vain for: {what}"
        time.sleep(0.02)


def environment(**extra: str) -> dict[str, str]:
    """This process' environment without our settings, and with `extra`."""
    kept = {k: v for k, v in os.environ.items() if k not in _OURS and not k.startswith("AWS_")}
    return {**kept, **extra}


def program(name: str) -> str:
    return sys.executable if name == "python" else str(BIN / name)


def run(*argv: str, cwd: Path, timeout: float = DEADLINE_S, **env: str) -> subprocess.CompletedProcess[str]:
    """Run one of our commands, or a script by ``python FILE …``, to its end."""
    return run_with([program(argv[0]), *argv[1:]], cwd=cwd, env=environment(**env), timeout=timeout)


def run_with(
    command: list[str], *, cwd: Path, env: dict[str, str], timeout: float = DEADLINE_S
) -> subprocess.CompletedProcess[str]:
    """Run a command to its end in just this environment; it is killed when it takes too long."""
    process = forkserver.popen(
        command,
        cwd=cwd,
        env=env,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    with process:
        try:
            out, err = process.communicate(timeout=timeout)
        except subprocess.TimeoutExpired:
            process.kill()
            process.communicate()
            raise
    return subprocess.CompletedProcess(command, process.returncode, out, err)


def run_json(*argv: str, cwd: Path, **env: str) -> Any:
    """What a command of `controller` prints with ``--format json``; it must succeed.

    Run in this process, as importing it for each of the many questions that tests ask takes longest.
    """
    from controller.commands.main import command

    assert argv[0] == "controller"
    before = Path.cwd()
    environ = environment(**env)
    removed = {name: None for name in os.environ if name not in environ}
    os.chdir(cwd)
    try:
        done = CliRunner().invoke(
            command, [*argv[1:], "--format", "json"], env={**environ, **removed}, catch_exceptions=False
        )
    finally:
        os.chdir(before)
    assert done.exit_code == 0, done.output
    return json.loads(done.stdout)


@contextmanager
def started(*argv: str, cwd: Path, log: Path | None = None, **env: str) -> Iterator[subprocess.Popen[bytes]]:
    """A command in the background, in a session of its own; killed with all its children at the end."""
    with open(log or os.devnull, "ab") as output:
        process = forkserver.popen(
            [program(argv[0]), *argv[1:]],
            cwd=cwd,
            env=environment(**env),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        yield process
    finally:
        victims = [process.pid, *descendants(process.pid)]
        for victim in victims:
            try:
                os.kill(victim, signal.SIGKILL)
            except ProcessLookupError:
                continue
        process.wait(10)
        # A slot that is not quite dead could still take the next test's job off the queue.
        wait_for(lambda: not any(alive(victim) for victim in victims), "the end of what was killed", 10.0)


def descendants(pid: int) -> list[int]:
    try:
        return [child.pid for child in psutil.Process(pid).children(recursive=True)]
    except psutil.NoSuchProcess:
        return []


def alive(pid: int) -> bool:
    try:
        return bool(psutil.Process(pid).status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


def living_in(folder: Path) -> list[str]:
    """Processes whose working folder or command line lies in `folder`."""
    found = []
    for process in psutil.process_iter(["pid", "cwd", "cmdline", "status"]):
        about = process.info
        if about["status"] == psutil.STATUS_ZOMBIE or about["pid"] == os.getpid():
            continue
        text = f"{about['cwd']} {' '.join(about['cmdline'] or ())}"
        if str(folder) in text:
            found.append(f"{about['pid']}: {text}")
    return found


def assert_nothing_left(folder: Path) -> None:
    """All processes of `folder` end within seconds."""
    try:
        wait_for(lambda: not living_in(folder), "the end of all processes", 10.0)
    except AssertionError:
        raise AssertionError(f"left running: {living_in(folder)}") from None


class Bench:
    """Tasks put on a queue by hand, for tests of the worker alone."""

    def __init__(self, redis_url: str, folder: Path) -> None:
        self.url = redis_url
        self.folder = folder
        self.store = Store(connect(redis_url, patience_s=30))
        self._queue = TaskQueue("default", connection=connect(redis_url, text=False))

    def module(self, name: str, text: str) -> None:
        """Write a file that objectives can be taken from."""
        (self.folder / name).write_text(text)

    def submit(self, objective: dict[str, Any] | str, **changes: Any) -> str:
        """Create and enqueue a task; a text names a function. Returns its id."""
        if isinstance(objective, str):
            objective = {"kind": "function", "target": objective}
        spec: dict[str, Any] = {
            "objective": objective,
            "metrics": (LOSS,),
            "lease_s": 2.0,
            "grace_s": 2.0,
            "artifacts": f"file://{self.folder}/artifacts",
        }
        spec.update(changes)
        task = TaskRecord(
            id=new_task_id(),
            name="t",
            study="bench",
            trial=0,
            spec=TaskSpec(**spec),
            status=Status.QUEUED,
            created_at=time.time(),
        )
        self.store.tasks.create(task)
        self._queue.enqueue_attempt(task.id, 1)
        return task.id

    def enqueue(self, task_id: str, attempt: int) -> None:
        self._queue.enqueue_attempt(task_id, attempt)

    def ended(self, task_id: str, deadline_s: float = DEADLINE_S) -> TaskRecord:
        """The task's record once it has ended."""

        def look() -> TaskRecord | None:
            task = self.store.tasks.get(task_id)
            return task if task.status.is_finished else None

        return wait_for(look, f"the end of task {task_id}: {self.store.tasks.get(task_id)}", deadline_s)

    def running(self, task_id: str) -> TaskRecord:
        """The task's record once a worker runs it."""

        def look() -> TaskRecord | None:
            task = self.store.tasks.get(task_id)
            return task if task.status is Status.IN_PROGRESS else None

        return wait_for(look, f"the start of task {task_id}")

    def reported(self, task_id: str, count: int = 1) -> None:
        """Wait until the task has reported its objective so often."""
        wait_for(lambda: self.store.tasks.get(task_id).iterations >= count, f"{count} reports of {task_id}")

    def output(self, task_id: str) -> str:
        return self.store.logs.read(task_id)[0]


@contextmanager
def serving(bench: Bench, *options: str, **env: str) -> Iterator[subprocess.Popen[bytes]]:
    """A worker of the bench's queue, with one slot; nothing in its log may be a traceback."""
    log = bench.folder / "worker.log"
    with started("worker", *options, cwd=bench.folder, log=log, REDIS_URL=bench.url, **env) as process:
        wait_for(lambda: bench.store.workers.list("default"), "the worker")
        yield process
    assert "Traceback" not in log.read_text(), log.read_text()
