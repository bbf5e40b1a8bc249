"""What a study's record says of what has run it."""

from __future__ import annotations

import platform
from typing import Any

import optuna
import pytest

from controller.session.environment import MOST_WORKERS, note_workers, versions
from tests.dashboard import page_store
from worker.protocol import ObjectiveMetric, Sign, Store, StudyRecord
from worker.protocol.connection import connect
from worker.protocol.gpu_status import GpuStatus, pack
from worker.version import __version__

__all__ = ["page_store"]
RECORD = StudyRecord(
    name="s", created_at=1.0, metrics=(ObjectiveMetric(title="loss", series="", sign=Sign.MIN),), queue="q"
)


def test_the_versions_are_those_that_run() -> None:
    found = versions()
    assert (found["optuna-rq"], found["python"], found["optuna"]) == (
        __version__, platform.python_version(), optuna.__version__,
    )  # fmt: skip


def test_workers_that_were_seen_stay(page_store: Store) -> None:
    page_store.studies.save(RECORD)

    def register(name: str, **fields: Any) -> None:
        about = {"queues": "other,q", "slots": 2, "version": "9", "host": f"h-{name}", **fields}
        page_store.workers.register(name, about, 60.0)

    register("a", gpus=pack([GpuStatus(number="0", name="H100"), GpuStatus(number="1", name="H100")]))
    register("elsewhere", queues="other")
    note_workers(page_store, "s")
    page_store.workers.forget("a")
    register("b", host="\x1b[31mred", gpus="no list")
    note_workers(page_store, "s")
    assert page_store.studies.get("s").environment["workers"] == {
        "a": {"host": "h-a", "slots": 2, "version": "9", "gpus": ["H100", "H100"]},
        "b": {"host": "\\x1b[31mred", "slots": 2, "version": "9", "gpus": []},
    }


def test_so_many_are_noted(page_store: Store) -> None:
    known = {f"w{number}": {} for number in range(MOST_WORKERS)}
    page_store.studies.save(
        StudyRecord(**{**RECORD.__dict__, "name": "many", "environment": {"workers": known}})
    )
    page_store.workers.register("new", {"queues": "q", "slots": 1}, 60.0)
    note_workers(page_store, "many")
    assert page_store.studies.get("many").environment["workers"] == known


def test_a_study_or_redis_that_is_not_there(page_store: Store, caplog: pytest.LogCaptureFixture) -> None:
    note_workers(page_store, "nosuch")
    assert page_store.studies.find("nosuch") is None
    note_workers(Store(connect("redis://127.0.0.1:1", patience_s=0, timeout_s=1.0)), "s")
    assert "its workers were not noted" in caplog.text


def test_a_record_of_an_earlier_version_has_none() -> None:
    fields = {name: str(text) for name, text in RECORD.encode().items() if name != "environment"}
    assert StudyRecord.decode(fields) == RECORD
