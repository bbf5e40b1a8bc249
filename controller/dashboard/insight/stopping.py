"""When to stop: how long the best has stood, and where rules would have ended the study."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from controller.dashboard.sections import Section, study_data
from controller.dashboard.site import Site
from controller.insight.stopping import standing
from worker.protocol import StudyRecord


def values(site: Site, record: StudyRecord) -> Mapping[str, Any]:
    """How long the best has stood."""
    return {"standing": standing(study_data(site, record))}


section = Section(name="stopping", title="When to stop", values=values, place=70)
