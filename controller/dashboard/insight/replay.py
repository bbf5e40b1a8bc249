"""Whether the study's recorded decisions come out again."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from controller.dashboard.sections import Section
from controller.dashboard.site import Site
from controller.insight.replay import replay
from controller.search.study import existing_study
from controller.studies.recorded import recorded_of
from worker.protocol import StudyRecord
from worker.protocol.errors import BadInput

MOST_TRIALS = 300
"""Trials that a page replays: samplers that learn take milliseconds for each."""


def values(site: Site, record: StudyRecord) -> Mapping[str, Any]:
    """The answer of `controller replay STUDY`."""
    if not record.storage:
        raise BadInput("Its trials are in no storage of Optuna's.")
    recorded = recorded_of(record, existing_study(record, site.storage_url(record)))
    if len(recorded.trials) > MOST_TRIALS:
        raise BadInput(
            f"It has {len(recorded.trials)} trials, more than a page replays: call `controller replay "
            f"{record.name}`."
        )
    return {"answer": replay(recorded)}


section = Section(name="replay", title="Do its decisions come out again?", values=values, place=90)
