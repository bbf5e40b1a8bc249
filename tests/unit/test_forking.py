"""SIGTERM to a process that was forked just now."""

from __future__ import annotations

import subprocess
import sys

import pytest

FORKS = """
import os, signal, sys, time
from worker.sdk import forking, runtime

def ended(signum, frame):
    os._exit(7)

signal.signal(signal.SIGTERM, forking.deaf if sys.argv[1] == "deaf" else ended)
mask = signal.pthread_sigmask(signal.SIG_BLOCK, ())
found = set()
for _ in range(300):
    pid = os.fork()
    if not pid:
        time.sleep(20)
        os._exit(0)
    os.kill(pid, signal.SIGTERM)
    found.add(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
assert signal.pthread_sigmask(signal.SIG_BLOCK, ()) == mask
print(*found, flush=True)
os.kill(os.getpid(), signal.SIGTERM)
"""


@pytest.mark.parametrize(("handler", "children", "own"), [("deaf", -15, 0), ("own", 7, 7)])
def test_a_signal_to_a_new_child_is_not_lost(handler: str, children: int, own: int) -> None:
    done = subprocess.run(
        [sys.executable, "-c", FORKS, handler], capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.stdout, done.returncode) == (f"{children}\n", own), done.stderr
