"""What `controller` refuses, beside a finished study that must be none the worse for it."""

from __future__ import annotations

import re
import socket
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.e2e.cli import Cli, folder_of
from tests.e2e.harness import BIN, assert_nothing_left, environment, run, started, wait_for

OBJECTIVES = """
def quick(task, x): return x
def with_momentum(task, x, momentum): return x
"""

FILES = {
    "dies.py": "import os\nos._exit(3)\n",
    "script.py": "from worker import Task\nif True\n    pass\n",
    "train.sh": "#!/bin/sh\necho loss=1\n",
}


@pytest.fixture
def cli(tmp_path: Path) -> Iterator[Cli]:
    for name, text in FILES.items():
        (tmp_path / name).write_text(text)
    with folder_of(tmp_path, OBJECTIVES) as found:
        yield found


class Mistake(NamedTuple):
    """Options of `controller start`, in an environment, and what must be said about them."""

    options: tuple[str, ...]
    message: str
    env: tuple[tuple[str, str], ...] = ()

    @classmethod
    def key(cls, override: str, message: str) -> Mistake:
        return cls(("--set", override), message)

    @classmethod
    def url(cls, name: str, value: str, message: str) -> Mistake:
        return cls((), message, ((name, value),))


SILENT_PORT = "SILENT_PORT"
MISTAKES = [
    # An objective that can't be run, found before any trial.
    Mistake.key('objective={script="script.py"}', "script.py, line 2"),
    Mistake.key("objective.function='dies:quick'", "exit code 3"),
    Mistake.key('objective={command=["./train.sh", "{x}"]}', "not executable: chmod +x"),
    Mistake(
        (
            "--set", "objective.function='obj:with_momentum'",
            "--set", "parameters={x={choices=[1, 2]}, momentum={low=0.0, high=1.0, type='float', when={x=1}}}",
        ),
        "needs a default for 'momentum'",
    ),
    # Samplers and pruners.
    Mistake.key("sampler={type='tpe', n_startup_trials='ten'}", "sampler.n_startup_trials: must be int"),
    # The study that is there, another search space, other goals, another storage.
    Mistake.key("parameters.x.high=9.0", "another search space (parameters.x.high: 1.0 → 9.0)"),
    Mistake.key("study.metric.goal='maximize'", "another search space"),
    Mistake.url("OPTUNA_STORAGE", "journal:///tmp/nowhere.log", "has its trials in sqlite"),
    # Storages of a new study.
    Mistake(("--set", "study.name='n'"), "storage sqlite:////proc", (("OPTUNA_STORAGE", "sqlite:////proc/o.db"),)),
    # Redis.
    Mistake.url("REDIS_URL", SILENT_PORT, "no answer in time"),
]  # fmt: skip

QUESTIONS = [
    (("status", "nope"), "no study 'nope' in this Redis; there are: s"),
    (("delete", "nope", "--yes"), "no study 'nope'"),
    (("stop", "--task", "nope"), "no task 'nope'"),
    (("artifacts", "list", "--task", "f" * 32), "f" * 32),
    (("pause", "s"), "no controller acts on it"),
    (("show", ""), "4 tasks begin so"),
]


def test_nothing_is_lost_by_mistakes(cli: Cli) -> None:
    file = cli.sweep()
    done = cli.start(file)
    assert done.returncode == 0, done.stderr
    before = [cli(question, "--format", "json").stdout for question in ("status", "top", "tasks")]
    told = [(trial.state, trial.params, trial.value) for trial in cli.trials()]

    with socket.socket() as silent, ThreadPoolExecutor(3) as pool:
        silent.bind(("127.0.0.1", 0))
        silent.listen(5)
        silent_url = f"redis://:hidden-word@127.0.0.1:{silent.getsockname()[1]}/0"

        def make(mistake: Mistake) -> subprocess.CompletedProcess[str]:
            env = {name: silent_url if value == SILENT_PORT else value for name, value in mistake.env}
            return cli("start", file, "--workers", "1", *mistake.options, **env)

        answers = pool.map(make, MISTAKES)
        for mistake, done in zip(MISTAKES, answers, strict=True):
            said = (mistake, done.returncode, done.stderr, done.stdout)
            # A Redis that is away is nobody's mistake.
            assert done.returncode == (1 if SILENT_PORT in dict(mistake.env).values() else 2), said
            assert mistake.message in done.stderr, said
            assert done.stderr.startswith("controller: "), said
            assert done.stderr.count("\n") == 1, said
            assert "hidden-word" not in done.stderr + done.stdout, said
        for (question, message), done in zip(
            QUESTIONS, pool.map(lambda asked: cli(*asked[0]), QUESTIONS), strict=True
        ):
            assert (done.returncode, done.stdout) == (2, ""), (question, done)
            assert message in done.stderr, (question, done.stderr)
            assert done.stderr.count("\n") == 1, (question, done.stderr)

    assert_nothing_left(cli.folder)
    assert [cli(question, "--format", "json").stdout for question in ("status", "top", "tasks")] == before
    assert [(trial.state, trial.params, trial.value) for trial in cli.trials()] == told
    assert cli("status", "n").returncode == 2

    # The records go, Optuna's trials stay: with what they can't share a study, it is refused as well.
    assert cli("delete", "s", "--yes").returncode == 0
    done = cli.start(file, "--set", "parameters.x={choices=[1.0, 2.0]}")
    assert (done.returncode, done.stderr.count("\n")) == (2, 1), done.stderr
    assert "in Optuna's storage has trials with another parameter 'x'" in done.stderr
    assert_nothing_left(cli.folder)


def test_an_objective_that_no_worker_has(cli: Cli, redis_url: str) -> None:
    """The head node has no such module and can't tell; a worker can, before any trial."""
    file = cli.sweep(objective={"function": "nowhere:quick"})
    with started("worker", cwd=cli.folder, REDIS_URL=redis_url):
        done = cli("start", file, REDIS_URL=redis_url)
        assert done.returncode == 2, done.stderr
        assert "no module 'nowhere'" in done.stderr
        assert "checked on worker" in done.stderr
        assert cli("status", REDIS_URL=redis_url).stderr.startswith("controller: there are no studies")


def test_the_command_that_starts_a_worker_is_told_and_right(cli: Cli, redis_url: str) -> None:
    file = cli.sweep(queue={"name": "gpu"})
    log = cli.folder / "log"
    with started("controller", "start", file, cwd=cli.folder, log=log, REDIS_URL=redis_url) as process:
        told = wait_for(
            lambda: re.search(r"no worker serves queue 'gpu' yet; on a compute node: (.*)", log.read_text()),
            "the hint",
        )
        worker = subprocess.Popen(
            ["bash", "-c", f"exec env {told[1]}"],
            cwd=cli.folder,
            env=environment(PATH=f"{BIN}:/usr/bin:/bin"),
            stderr=subprocess.DEVNULL,
        )
        try:
            assert process.wait(60) == 0, log.read_text()
        finally:
            worker.terminate()
            worker.wait(30)
    assert_nothing_left(cli.folder)


def test_where_nothing_can_be_written() -> None:
    done = run("controller", "start", "/dev/null", cwd=Path("/proc"))
    assert (done.returncode, done.stderr.count("\n")) == (2, 1), done.stderr
    done = run("controller", "top", cwd=Path("/proc"))
    assert "set REDIS_URL, or call this where" in done.stderr
    assert done.returncode == 2
