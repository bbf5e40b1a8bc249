"""The budget of a study, and how people have edited it."""

from __future__ import annotations

from typing import Any

from controller.results.limits import said
from worker.protocol import Store
from worker.protocol.clock import iso
from worker.protocol.printable import one_line


def budget_report(store: Store, name: str) -> dict[str, Any]:
    """Used, reserved and limit of each kind, and the edits that stand; as JSON types.

    Raises:
        BadInput: there is no such study.
    """
    record = store.studies.get(name)
    edits = []
    for limit, edit in sorted(store.changes.edits(name).items()):
        before, after = (said(limit, value) for value in (edit.instead_of, edit.limit))
        who = one_line(edit.by or "somebody", 200)
        edits.append(
            {
                "limit": limit,
                "value": edit.limit,
                "instead_of": edit.instead_of,
                "by": edit.by,
                "at": iso(edit.at),
                "text": f"{limit}: {after} instead of {before}, by {who}, {iso(edit.at)}",
            }
        )
    return {"study": name, "budget": record.budget, "edits": edits}
