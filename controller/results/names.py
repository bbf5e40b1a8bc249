"""What a study's tasks call things: their metrics, and the parameters that were searched."""

from __future__ import annotations

from dataclasses import dataclass

from controller.results.curves import MONITOR
from controller.results.parameters import as_written
from worker.protocol import OPEN, Store, StudyRecord

LOOKED_AT = 10
"""Tasks that are looked at of the best, the newest and those that run: it costs the same in any study."""


@dataclass(frozen=True, kw_only=True)
class Names:
    """Names to choose from."""

    metrics: list[str]
    """Objectives first, without the machine's own metrics."""
    parameters: list[str]


def known_names(store: Store, study: StudyRecord) -> Names:
    """The names that a few of a study's tasks have: it need not be all of them where tasks differ."""
    own = store.studies.own(study.name, store.ranking.best(study.name, LOOKED_AT))
    open_now = [task_id for status in OPEN for task_id in store.studies.tasks(study.name, status)[:LOOKED_AT]]
    newest = store.studies.newest(study.name, LOOKED_AT)
    ids = list(dict.fromkeys([*own, *open_now, *newest]))
    records = [record for record in store.tasks.get_many(ids) if record is not None]
    metrics = [metric.key for metric in study.metrics]
    for scalars in store.reports.scalars(ids):
        metrics += [key for key in scalars if not key.startswith(MONITOR)]
    parameters = [name for record in records for name in as_written(record, everything=False)]
    return Names(metrics=list(dict.fromkeys(metrics)), parameters=sorted(set(parameters)))
