"""What matters: the importance of each parameter, and what follows."""

from __future__ import annotations

from controller.insight.importance_advice import advise
from controller.report.sections import Section
from controller.results.study_data import StudyData
from worker.protocol.errors import BadInput

BOOTSTRAPS = 10


def section(data: StudyData) -> Section | None:
    rows, text = [], []
    several = len(data.objectives) > 1
    for place, metric in enumerate(data.objectives):
        try:
            advised = advise(data, place, bootstraps=BOOTSTRAPS)
        except BadInput as error:
            text.append(str(error))
            continue
        for one in advised.importance.parameters:
            row: dict[str, object] = {"objective": metric.key} if several else {}
            row |= {
                "parameter": one.name,
                "importance": one.share.text,
                "explains": one.explains.text if one.explains else None,
                "matters": one.matters,
                "where": one.where or None,
            }
            rows.append(row)
        text += [f"{metric.key}: {one.text}" if several else one.text for one in advised.advice]
        text += [f"{note}." for note in advised.importance.notes]
    return Section(title="What matters", rows=rows, text=list(dict.fromkeys(text)), place=50)
