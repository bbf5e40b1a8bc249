"""A machine on which no process can be started: said as what it is, and nothing ends by it."""

from __future__ import annotations

import errno
import gc
import os
from types import SimpleNamespace
from typing import Any

import pytest

from worker.runner.libraries import Notebook
from worker.runner.nursery import Trials
from worker.slot.daemon import MAX_PAUSE_S, Daemon


def refuse(*args: Any) -> Any:
    raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN))


class Endpoint:
    def __init__(self) -> None:
        self.sent: list[Any] = []

    def send(self, message: Any) -> None:
        self.sent.append(message)


def test_a_runner_that_may_not_fork(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "fork", refuse)
    monkeypatch.setattr(gc, "freeze", lambda: None)
    endpoint: Any = Endpoint()
    trials = Trials(endpoint, Notebook())
    assert trials.begin([{"op": "run"}]) is None
    trials.await_end(None)
    (told,) = endpoint.sent
    assert told["op"] == "result"
    assert told["fault"] == ["machine_fault", "processes", ""]
    assert "Resource temporarily unavailable" in told["reason"]


def test_a_slot_that_can_not_be_started_again_is_tried_later(monkeypatch: pytest.MonkeyPatch) -> None:
    settings: Any = SimpleNamespace(name="w")
    daemon = Daemon(settings)
    daemon._restart_at[0] = 10.0
    monkeypatch.setattr(daemon, "_start", refuse)
    daemon._restart_due(10.0)
    assert daemon._restart_at == {0: 10.0 + MAX_PAUSE_S}
    started: list[int] = []
    monkeypatch.setattr(daemon, "_start", started.append)
    daemon._restart_due(10.0 + MAX_PAUSE_S)
    assert (started, daemon._restart_at) == ([0], {})
