"""When to stop: how long the best has stood, and where rules would have ended the study."""

from __future__ import annotations

from controller.insight.stopping import standing
from controller.report.sections import Section
from controller.results.study_data import StudyData


def section(data: StudyData) -> Section | None:
    found = standing(data)
    if not found.ended:
        return None
    return Section(title="When to stop", text=[f"{found.text}."], rows=found.rows(), place=70)
