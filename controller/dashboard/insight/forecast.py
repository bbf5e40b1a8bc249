"""When the study ends, and what it costs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from controller.dashboard.sections import Section
from controller.dashboard.site import Site
from controller.insight.forecast_reading import forecast_study
from worker.protocol import StudyRecord


def values(site: Site, record: StudyRecord) -> Mapping[str, Any]:
    """The forecast, as rows."""
    found = forecast_study(site.store, record.name)
    return {"forecast": found, "rows": found.rows(), "ends_by": found.reason_text()}


section = Section(name="forecast", title="When it ends", values=values, place=10)
