"""What the study ran in, and who differed from it."""

from __future__ import annotations

from controller.insight.surroundings import deviations, facts
from controller.report.sections import Section
from controller.results.study_data import StudyData

MOST_ROWS = 60


def section(data: StudyData) -> Section | None:
    rows: list[dict[str, object]] = [
        {"who": "study", "what": what, "then": text, "here": None} for what, text in facts(data.surroundings)
    ]
    if not rows:
        missing = "Its surroundings are not recorded: an earlier version began this study."
        return Section(title="What it ran in", text=[missing], place=90)
    for who, differing in deviations(data.surroundings):
        rows += [{"who": who, "what": one.what, "then": one.before, "here": one.after} for one in differing]
    more = len(rows) - MOST_ROWS
    text = [f"{more} more differences: `controller surroundings`."] if more > 0 else []
    return Section(title="What it ran in", rows=rows[:MOST_ROWS], text=text, place=90)
