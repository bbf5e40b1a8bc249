"""Tags and notes of tasks."""

from __future__ import annotations

from collections.abc import Sequence

from controller.control.journal import write_log
from worker.protocol import Store, TaskRecord
from worker.protocol.errors import BadInput
from worker.protocol.study_log import LogKind
from worker.protocol.tags import checked_tag

SHOWN = 200
"""Characters of a note in the log."""


def tag_task(
    store: Store, task_id: str, *, add: Sequence[str] = (), remove: Sequence[str] = (), by: str
) -> str:
    """Add and remove tags of a task, whatever it does.

    Raises:
        BadInput: there is no such task, a tag is none, or there are too many.
    """
    add, remove = list(map(checked_tag, add)), list(map(checked_tag, remove))
    both = sorted(set(add) & set(remove))
    if both:
        raise BadInput(f"tag {both[0]!r}: add it or remove it, not both")
    record = store.labels.tag(task_id, add, remove)
    signed = [f"+{tag}" for tag in add] + [f"-{tag}" for tag in remove]
    if signed:
        _log(store, record, f"tags {' '.join(signed)}", by)
    return f"task {task_id[:8]}: {'tags ' + ', '.join(record.all_tags) if record.all_tags else 'no tags'}"


def note_task(store: Store, task_id: str, text: str, *, by: str) -> str:
    """Write a task's note in place of the one that it had; an empty text removes it.

    Raises:
        BadInput: there is no such task, or the text is too long or has control characters.
    """
    record = store.labels.note(task_id, text)
    if not record.note:
        _log(store, record, "note removed", by)
        return f"task {task_id[:8]}: no note"
    shown = record.note if len(record.note) <= SHOWN else f"{record.note[: SHOWN - 1]}…"
    _log(store, record, f"note: {shown}", by)
    return f"task {task_id[:8]}: noted"


def _log(store: Store, record: TaskRecord, text: str, by: str) -> None:
    # Which study it is of stands in the study's own list: its record may say anything.
    if record.study and store.studies.has(record.study, record.id):
        write_log(store, record.study, LogKind.TAG, f"trial {record.trial}: {text}", by=by, task=record.id)
