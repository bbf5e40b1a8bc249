"""Whether the winner is really the best, where its best were run again."""

from __future__ import annotations

from controller.insight.confirm import confirmation_in
from controller.insight.confirm_rows import rows_of
from controller.report.sections import Section
from controller.results.study_data import StudyData


def section(data: StudyData) -> Section | None:
    answer = confirmation_in(data)
    if answer is None:
        return None
    return Section(title="Is the winner the best?", text=answer.words, rows=rows_of(answer), place=20)
