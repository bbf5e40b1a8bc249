"""What matters: the importance of each parameter."""

from __future__ import annotations

from controller.insight.importance import importance_of
from controller.report.sections import Section
from controller.results.study_data import StudyData


def section(data: StudyData) -> Section | None:
    found = [importance_of(data, place) for place in range(len(data.objectives))]
    rows = [
        {
            **({"objective": one.objective} if len(found) > 1 else {}),
            "parameter": matter.name,
            "importance": f"{matter.share:.0%}",
        }
        for one in found
        for matter in one.parameters
    ]
    return Section(title="What matters", rows=rows)
