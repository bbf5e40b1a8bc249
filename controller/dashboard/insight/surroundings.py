"""What the study ran in, and who differed from it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from controller.dashboard.sections import Section
from controller.dashboard.site import Site
from controller.insight.surroundings import deviations, facts
from worker.protocol import StudyRecord
from worker.protocol.errors import BadInput

MOST_SHOWN = 20
"""Differences of one machine, and machines that differ."""


def values(site: Site, record: StudyRecord) -> Mapping[str, Any]:
    """Rows of what is recorded. Raises `BadInput` where nothing is."""
    found = site.store.surroundings.of_study(record.name)
    if found.first is None:
        raise BadInput("Its surroundings are not recorded: an earlier version began this study.")
    differing = [(who, several) for who, several in deviations(found) if several]
    return {
        "facts": facts(found),
        "deviations": differing[:MOST_SHOWN],
        "more": max(0, len(differing) - MOST_SHOWN),
        "most": MOST_SHOWN,
        "diff": str(found.diff.get("text", "")),
    }


section = Section(name="surroundings", title="What it ran in", values=values, place=90)
