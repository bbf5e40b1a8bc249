"""Gives a study a configuration to try next."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from controller.control.journal import write_log
from controller.sweep.parts import read_try
from worker.protocol import Store, StudyRecord
from worker.protocol.errors import BadInput
from worker.protocol.study_log import LogKind

MOST_WAITING = 10_000
"""Configurations that may wait for a study's controller."""
MAX_SIZE = 1 << 20
"""Characters of one configuration, as JSON."""


def enqueue(store: Store, study: str, given: Mapping[str, Any], *, by: str) -> str:
    """Have a study try a configuration next; the sampler chooses what it leaves out.

    It is an ordinary trial: the budget counts it, and what was tried before is not tried again.

    Args:
        given: name → the program's value.

    Raises:
        BadInput: there is no such study, or it has no such parameter or value.
    """
    record = store.studies.get(study)
    checked = _checked(record, given)
    if len(json.dumps(checked)) > MAX_SIZE:
        raise BadInput(f"study {record.name}: a configuration has at most {MAX_SIZE} characters as JSON")
    if len(store.changes.given(record.name)) >= MOST_WAITING:
        raise BadInput(f"study {record.name}: {MOST_WAITING} configurations wait already")
    waiting = store.changes.give(record.name, checked, by)
    said = ", ".join(f"{name}={json.dumps(value, ensure_ascii=False)}" for name, value in checked.items())
    write_log(store, record.name, LogKind.ENQUEUE, f"to be tried next: {said}", by=by)
    if store.studies.has_controller(record.name):
        when = "its controller tries it next"
    else:
        when = f"no controller acts on it; the next `controller start` tries it first ({waiting} wait)"
    return f"study {record.name}: {said}: {when}"


def _checked(record: StudyRecord, given: Mapping[str, Any]) -> dict[str, Any]:
    """The configuration, by the rules of `[[try]]`. Raises `BadInput`."""
    source = f"study {record.name}"
    described = record.sweep.get("parameters", {})
    if "metric" in record.sweep.get("study", {}):
        return read_try(given, described, source)
    if not given:
        raise BadInput(f"{source}: names no parameter; there are {', '.join(described) or 'none'}")
    from controller.search.enqueued import encoded  # noqa: PLC0415 - Optuna takes a second to import
    from controller.search.parameters import Parameter  # noqa: PLC0415 - as well

    try:
        parameters = [Parameter.from_dict(about) for about in described.values()]
    except (BadInput, TypeError, KeyError, ValueError):
        return dict(given)  # of a class of the program's own: its controller alone knows what it takes
    encoded(given, parameters)
    return dict(given)
