"""What bounded the study's speed, and what pruning saved."""

from __future__ import annotations

from controller.insight.explain_study import explain_study
from controller.report.sections import Section
from controller.results.durations import brief
from controller.results.study_data import StudyData


def section(data: StudyData) -> Section | None:
    answer = explain_study(data)
    rows = [
        {"time of slots": row["part"], "share": f"{row['share']:.1%}", "time": brief(row["seconds"])}
        for row in answer.share_rows()
    ]
    text = [answer.bound and f"Bounded by {answer.bound}.", answer.queued_text and f"{answer.queued_text}."]
    if answer.saved is not None:
        text.append(f"Pruning: {answer.saved.text}.")
    text += [f"Not known: {one}." for one in answer.unknown]
    return Section(title="What bounded its speed", text=[one for one in text if one], rows=rows, place=30)
