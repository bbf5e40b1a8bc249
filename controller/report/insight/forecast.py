"""When a study that still runs ends, and what it costs."""

from __future__ import annotations

from controller.insight.forecast_reading import forecast_data
from controller.report.sections import Section
from controller.results.status import ENDED
from controller.results.study_data import StudyData


def section(data: StudyData) -> Section | None:
    if data.study.state in ENDED:
        return None
    found = forecast_data(data)
    text = [f"Not known: {one}." for one in found.unknown]
    if found.left_s is not None:
        text.insert(0, f"Four of five studies end within these; from {found.rests_on}.")
    return Section(title="When it ends", text=text, rows=found.rows(), place=10)
