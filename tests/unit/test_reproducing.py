"""A task outside any study is looked after by the command that waits for it."""

from __future__ import annotations

import threading
from pathlib import Path

from controller.loop.backend import Backend
from controller.session.reproducing import launch, wait_for
from tests.e2e.harness import wait_for as until
from tests.fakes import record
from worker.protocol import Status, Store, TaskSpec
from worker.protocol.connection import connect


def test_a_task_whose_worker_is_lost_gets_another_attempt(redis_url: str, tmp_path: Path) -> None:
    backend = Backend(redis_url, "", f"file://{tmp_path}")
    store = Store(connect(redis_url))
    spec = TaskSpec(objective={"kind": "command", "argv": ["true"]}, queue="q", lease_s=0.3)
    task = launch(backend, record(study="", trial=-1, name="again", spec=spec))
    store.transitions.start(task.id, 1, "lost/0")  # which renews nothing
    notes: list[str] = []

    def second() -> None:
        until(lambda: store.tasks.get(task.id).attempt == 2, "the second attempt")
        until(lambda: backend.launcher.waiting("q", [(task.id, 2)])[0], "its job")
        store.transitions.start(task.id, 2, "w/0")
        store.transitions.finish(task.id, 2, Status.COMPLETED, worker="w/0")

    worker = threading.Thread(target=second)
    worker.start()
    try:
        ended = wait_for(backend, task, notes.append)
    finally:
        worker.join()
    assert (ended.status, ended.attempt) == (Status.COMPLETED, 2)
    assert "again: worker lost/0 was lost; another attempt follows" in notes
