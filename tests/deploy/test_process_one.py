"""A worker as process 1, as it is in a container: signals reach it, and nothing is left below it."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from subprocess import Popen

import psutil
import pytest

from tests.deploy.compose import health
from tests.e2e.harness import BIN, Bench, started, wait_for
from tests.servers import free_port
from worker.protocol import Status

ORPHANS = """
import os, time

def leaves(task):
    '''Starts programs whose parent ends before they do.'''
    for _ in range(3):
        if os.fork() == 0:
            if os.fork() == 0:
                os.setsid()
                time.sleep(60)
            os._exit(0)
        os.wait()
    return 1.0
"""


@contextmanager
def as_process_one(*argv: str, cwd: Path, **env: str) -> Iterator[tuple[psutil.Process, Popen[bytes]]]:
    """A command in a process namespace of its own, with its /proc; and the program that waits for it."""
    unshare = shutil.which("unshare")
    if os.geteuid() != 0 or unshare is None:
        pytest.skip("process namespaces need root and unshare")
    with started(
        unshare, "--pid", "--fork", "--kill-child", "--mount-proc", str(BIN / argv[0]), *argv[1:],
        cwd=cwd, log=cwd / "log", **env,
    ) as waiting:  # fmt: skip
        (first,) = wait_for(lambda: psutil.Process(waiting.pid).children(), "process 1")
        yield first, waiting


def test_sigterm_ends_it_in_order(tmp_path: Path, redis_url: str) -> None:
    bench = Bench(redis_url, tmp_path)
    bench.module("obj.py", "def one(task):\n    return 1.0\n")
    port = f"0.0.0.0:{free_port()}"
    with as_process_one("worker", "--metrics-port", port, cwd=tmp_path, REDIS_URL=redis_url) as (
        first,
        waiting,
    ):
        cmdline = Path(f"/proc/{first.pid}/cmdline")
        wait_for(lambda: port in cmdline.read_text() and health().main(cmdline) == 0, "/livez")
        assert bench.ended(bench.submit("obj:one")).status is Status.COMPLETED
        first.terminate()
        assert waiting.wait(40) == 0, (tmp_path / "log").read_text()


def test_what_a_trial_leaves_running_ends_with_it(tmp_path: Path, redis_url: str) -> None:
    """The slot adopts it. It is ended, and waited for: else zombies would pile up."""
    bench = Bench(redis_url, tmp_path)
    bench.module("obj.py", ORPHANS)
    with as_process_one("worker", cwd=tmp_path, REDIS_URL=redis_url) as (first, _):
        for _ in range(4):
            assert bench.ended(bench.submit("obj:leaves")).status is Status.COMPLETED
        # A slot, its runner, what that forks trials from, and the process of the next one.
        wait_for(lambda: len(first.children(recursive=True)) <= 4, "the end of what was left", 15.0)
