"""What matters: the importance of each parameter."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from controller.dashboard.sections import Section, study_data
from controller.dashboard.site import Site
from controller.insight.importance import importance_of
from worker.protocol import StudyRecord


def values(site: Site, record: StudyRecord) -> Mapping[str, Any]:
    """What matters for each objective."""
    data = study_data(site, record)
    return {"objectives": [importance_of(data, place) for place in range(len(data.objectives))]}


section = Section(name="importance", title="What matters", values=values, place=50)
