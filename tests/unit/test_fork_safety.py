"""What keeps a process from being forked for trials, each told in a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

BEGIN = """
import ctypes, os, sys
from pathlib import Path
from worker.runner import preload

before = preload.sockets()

def thread_outside_python(name):
    libc, known = ctypes.CDLL(None), set(os.listdir("/proc/self/task"))
    handle = ctypes.c_ulong()
    libc.pthread_create(ctypes.byref(handle), None, libc.pause, None)
    (task,) = set(os.listdir("/proc/self/task")) - known
    Path(f"/proc/self/task/{task}/comm").write_text(name)
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="only on Linux can it be told")
@pytest.mark.parametrize(
    ("begun", "said"),
    [
        ("", ""),
        ("import threading; threading.Thread(target=threading.Event().wait, daemon=True).start()", "threads"),
        ("thread_outside_python('somebodys')", "threads outside Python"),
        ("thread_outside_python('jemalloc_bg_thd')", ""),
        ("import socket; s = socket.socket()", "connections"),
        ("import subprocess; p = subprocess.Popen(['sleep', '5'])", "processes"),
        ("sys.modules['jax'] = sys", "jax"),
        ("f = open('/dev/null', 'w')", ""),
        ("import tempfile; f = tempfile.NamedTemporaryFile()", "a file to write to"),
        ("import tempfile; f = tempfile.TemporaryFile()", ""),
        ("f = open(preload.__file__)", ""),
        ("import random, numpy.random, tempfile", ""),
        ("import random; sys.rng = random.Random(3)", "random numbers"),
        ("import numpy; sys.rng = numpy.random.default_rng()", "random numbers"),
        ("import numpy; sys.rng = numpy.random.RandomState(3)", "random numbers"),
    ],
)
def test_what_does_not_survive_a_fork(begun: str, said: str) -> None:
    end = "found = preload.why_not(before)\nos.write(1, found.encode())\nos._exit(0)"
    done = subprocess.run(
        [sys.executable, "-c", f"{BEGIN}\n{begun}\n{end}"], capture_output=True, text=True, check=True
    )
    assert (said in done.stdout) if said else (done.stdout == ""), done.stdout


MADE_BEFOREHAND = """
import os, sys, weakref
from worker.runner.libraries import Lesson, Preloading

Preloading(lambda: "").load(Lesson(["makes_a_folder"]))
import makes_a_folder
if os.fork() == 0:
    sys.exit()
os.wait()
print(os.path.isdir(makes_a_folder.made.name), end=" ")
path = makes_a_folder.made.name
del makes_a_folder.made
print(os.path.isdir(path))
"""


def test_a_trial_ends_nothing_that_was_made_beforehand(tmp_path: Path) -> None:
    (tmp_path / "makes_a_folder.py").write_text("import tempfile\nmade = tempfile.TemporaryDirectory()\n")
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", MADE_BEFOREHAND],
        env={**os.environ, "PYTHONPATH": str(tmp_path), "TMPDIR": str(tmp_path)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.split() == ["True", "False"], done.stderr
