"""Telling whether a process of this machine still runs."""

from __future__ import annotations

import os
import subprocess
import sys

from worker.protocol.host import is_gone, place


def test_processes_of_this_place() -> None:
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    assert is_gone(place(), str(ended.pid))
    assert not is_gone(place(), str(os.getpid()))
    assert not is_gone("elsewhere", str(ended.pid))
    assert not is_gone("", str(ended.pid))
    assert not is_gone(place(), "no number")
    assert not is_gone(place(), "9" * 30)
