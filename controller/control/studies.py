"""Stops tasks and studies, pauses and resumes studies."""

from __future__ import annotations

from dataclasses import replace

from controller.control.journal import write_log
from worker.protocol import FINISHED, OPEN, Reason, Store, StudyState
from worker.protocol.errors import BadInput
from worker.protocol.study_log import LogKind


def stop_task(store: Store, task_id: str, *, by: str) -> str:
    """Have one task stop: it is asked to, and made to after its grace period.

    Raises:
        BadInput: there is no such task.
    """
    before = store.tasks.get(task_id)
    if before.status in FINISHED:
        return f"task {task_id[:8]}: it has ended before ({before.status.value})"
    record = store.transitions.request_stop(task_id, Reason.USER, "stopped by hand")
    # Which study it is of stands in the study's own list: its record may say anything.
    if before.study and store.studies.has(before.study, task_id):
        text = f"trial {before.trial}: asked to stop"
        write_log(store, before.study, LogKind.TASK, text, by=by, task=task_id)
    over = record.status in FINISHED
    return f"task {task_id[:8]}: {record.status.value if over else 'asked to stop'}"


def stop_study(store: Store, study: str, *, by: str) -> str:
    """End a study in order. Where no controller acts on it, its open tasks are asked to stop here.

    Raises:
        BadInput: there is no such study.
    """
    name = store.studies.get(study).name
    if store.studies.has_controller(name):
        store.studies.request(name, "stop")
        write_log(store, name, LogKind.STOP, "its controller was asked to stop it", by=by)
        return f"study {name}: its controller was asked to stop it"
    count = _stop_without_controller(store, name)
    text = f"no controller acts on it; {count} open task(s) asked to stop"
    write_log(store, name, LogKind.STOP, text, by=by)
    return f"study {name}: {text}"


def _stop_without_controller(store: Store, name: str) -> int:
    open_tasks = [task_id for status in OPEN for task_id in store.studies.tasks(name, status)]
    for task_id in open_tasks:
        store.transitions.request_stop(task_id, Reason.STUDY_STOPPED, "stopped by hand")
    record = store.studies.get(name)
    if record.state not in (StudyState.COMPLETED, StudyState.FAILED):
        store.studies.save(replace(record, state=StudyState.STOPPED, reason="stopped by hand"))
    return len(open_tasks)


def pause_study(store: Store, study: str, *, by: str) -> str:
    """Have a study launch no more jobs for now; what runs goes on.

    Raises:
        BadInput: there is no such study, or no controller acts on it.
    """
    return _ask(store, study, "pause", LogKind.PAUSE, by)


def resume_study(store: Store, study: str, *, by: str) -> str:
    """Have a paused study launch jobs again. Raises `BadInput` as `pause_study`."""
    return _ask(store, study, "resume", LogKind.RESUME, by)


def _ask(store: Store, study: str, request: str, kind: LogKind, by: str) -> str:
    name = store.studies.get(study).name
    if not store.studies.has_controller(name):
        raise BadInput(
            f"study {name!r}: no controller acts on it; `controller start` with its sweep file continues it"
        )
    store.studies.request(name, request)
    write_log(store, name, kind, f"its controller was asked to {request}", by=by)
    return f"study {name}: its controller was asked to {request}"
