"""What matters: the importance of each parameter, and what follows."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from controller.dashboard.sections import Section, study_data
from controller.dashboard.site import Site
from worker.protocol import StudyRecord
from worker.protocol.errors import BadInput

BOOTSTRAPS = 10
"""Fewer than the command has: a page is drawn again."""


def values(site: Site, record: StudyRecord) -> Mapping[str, Any]:
    """What matters for each objective, and why nobody can tell for some."""
    from controller.insight.importance_advice import advise  # noqa: PLC0415 - scipy and scikit-learn take long

    data = study_data(site, record)
    found, problems = [], []
    for place in range(len(data.objectives)):
        try:
            found.append(advise(data, place, bootstraps=BOOTSTRAPS))
        except BadInput as error:
            problems.append(str(error))
    return {"objectives": found, "problems": list(dict.fromkeys(problems))}


section = Section(name="importance", title="What matters", values=values, place=50)
