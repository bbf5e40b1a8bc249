"""A worker as process 1, as it is in a container: signals reach it, and what has ended does not pile up."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

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
                time.sleep(0.3)
            os._exit(0)
        os.wait()
    return 1.0
"""


@contextmanager
def as_process_one(*argv: str, cwd: Path, **env: str) -> Iterator[tuple[psutil.Process, psutil.Popen]]:
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


@pytest.mark.e2e
def test_a_worker(tmp_path: Path, redis_url: str) -> None:
    bench = Bench(redis_url, tmp_path)
    bench.module("obj.py", ORPHANS)
    with as_process_one(
        "worker", "--metrics-port", f"0.0.0.0:{free_port()}", cwd=tmp_path, REDIS_URL=redis_url
    ) as (first, waiting):
        cmdline = Path(f"/proc/{first.pid}/cmdline")
        wait_for(
            lambda: health().main(cmdline) == 0 and health().metrics_port(cmdline.read_text().split("\0")),
            "/livez",
        )
        for _ in range(8):
            assert bench.ended(bench.submit("obj:leaves")).status is Status.COMPLETED
        # Those of the last task may be waited for with the next one's; they don't pile up.
        wait_for(lambda: len(zombies(first)) <= 3, f"that {zombies(first)} are waited for", 15.0)
        first.terminate()
        assert waiting.wait(40) == 0, (tmp_path / "log").read_text()


def zombies(first: psutil.Process) -> list[psutil.Process]:
    """What has ended below a process and was not waited for."""
    return [child for child in first.children(recursive=True) if child.status() == psutil.STATUS_ZOMBIE]
