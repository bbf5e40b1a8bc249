"""What changes a study or a worker from outside: the one way for commands, the page and programs.

Each function takes the store and who asks (`by`), does what is asked or raises `BadInput`, writes the study's
log, and returns one sentence that says what was done.
"""

from __future__ import annotations

from controller.control.budgets import edit_budget, reset_budget
from controller.control.enqueuing import enqueue
from controller.control.journal import write_log
from controller.control.labels import note_task, tag_task
from controller.control.studies import pause_study, resume_study, stop_study, stop_task
from controller.control.workers import drain_worker, pause_worker, resume_worker

__all__ = [
    "drain_worker",
    "edit_budget",
    "enqueue",
    "note_task",
    "pause_study",
    "pause_worker",
    "reset_budget",
    "resume_study",
    "resume_worker",
    "stop_study",
    "stop_task",
    "tag_task",
    "write_log",
]
