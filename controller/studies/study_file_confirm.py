"""What confirms a study's best, as lines of the study's file."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from controller.insight.confirm_tasks import MOST_TRIES, repeat_id
from controller.results.study_data import TaskData
from worker.protocol import Store
from worker.protocol.confirmations import ConfirmPlan
from worker.protocol.copies import TaskCopy, read_tasks, write_tasks


def confirm_lines(store: Store, name: str) -> Iterator[dict[str, Any]]:
    """A line for what was asked for, and one for each task that confirms; earlier versions pass them over."""
    plan = store.confirmations.plan(name)
    if plan is None:
        return
    yield {"confirm": plan.encode()}
    for copy in read_tasks(store, store.confirmations.tasks(name)):
        yield {"confirming": copy.to_dict()}


@dataclass
class ConfirmLines:
    """What a file holds of it, line by line."""

    plan: ConfirmPlan | None = None
    copies: list[TaskCopy] = field(default_factory=list)

    def take(self, line: Mapping[str, Any]) -> None:
        """Take a line, if it is about this. Raises `KeyError`, `TypeError`, `ValueError`, `RecordError`."""
        if "confirm" in line:
            self.plan = ConfirmPlan.decode(line["confirm"])
        elif "confirming" in line:
            self.copies.append(TaskCopy.from_dict(line["confirming"]))

    def tasks(self) -> tuple[TaskData, ...]:
        return tuple(TaskData(record=copy.record, scalars=copy.scalars) for copy in self.copies)

    def write(self, store: Store, study: str, ids: Mapping[str, str]) -> None:
        """Write it as the study's. What had not ended is left out: the next `controller confirm` runs it.

        Args:
            ids: of each task of the file → what it has here.
        """
        if self.plan is None:
            return
        placed = {}
        for old in self.plan.of:
            for repeat in range(self.plan.seeds):
                for tried in range(MOST_TRIES):
                    placed[repeat_id(old, repeat, tried)] = repeat_id(ids.get(old, old), repeat, tried)
        written = []
        for copy in self.copies:
            record, source = copy.record, ids.get(copy.record.spec.confirms, copy.record.spec.confirms)
            if record.status.is_finished and record.id in placed:
                spec = replace(record.spec, confirms=source)
                here = replace(record, id=placed[record.id], study=study, parent=source, spec=spec)
                written.append(replace(copy, record=here))
        write_tasks(store, written)
        store.confirmations.save(
            study, replace(self.plan, of=tuple(ids.get(old, old) for old in self.plan.of))
        )
