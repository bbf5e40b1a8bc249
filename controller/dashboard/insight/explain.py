"""What bounded the study's speed, what was decided in it, what pruning saved."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from controller.dashboard.sections import Section, study_data
from controller.dashboard.site import Site
from controller.dashboard.task_artifacts import storage_at
from controller.insight.explain_reading import read_answer
from worker.protocol import StudyRecord


def values(site: Site, record: StudyRecord) -> Mapping[str, Any]:
    """The answer of `controller explain STUDY`."""

    def opened(study: StudyRecord) -> Any:
        return storage_at(site, site.storage_url(study))

    return {"answer": read_answer(site.store, record.name, opened, study_data(site, record))}


section = Section(name="explain", title="What bounded its speed", values=values, place=30)
