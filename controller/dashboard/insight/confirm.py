"""Is the winner the best? What runs with other seeds say of the first places."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from controller.dashboard.sections import Section
from controller.dashboard.site import Site
from controller.insight.confirm import read_confirmation
from controller.insight.confirm_rows import rows_of
from worker.protocol import StudyRecord


def values(site: Site, record: StudyRecord) -> Mapping[str, Any]:
    """The answer, and its rows; nothing where nobody has asked for it."""
    answer = read_confirmation(site.store, record)
    return {"answer": answer, "rows": rows_of(answer) if answer else []}


section = Section(name="confirm", title="Is the winner the best?", values=values, place=20)
