"""The life of a task for its page: what `controller explain` tells of it."""

from __future__ import annotations

from typing import Any

from controller.dashboard.site import Site
from controller.dashboard.task_artifacts import storage_at
from controller.insight.explain import TaskLife, explain_task
from controller.insight.explain_reading import read_known
from worker.protocol import StudyRecord, TaskRecord

AROUND = 100
"""Trials before and after it that are read each time, to know what its slots did."""


def life_of(site: Site, record: TaskRecord) -> TaskLife:
    """The timeline of a task, as far as its record, its study's log and Optuna's storage tell."""

    def opened(study: StudyRecord) -> Any:
        return storage_at(site, site.storage_url(study))

    return explain_task(read_known(site.store, record, opened, AROUND))
