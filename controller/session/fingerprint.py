"""What makes two studies the same: their metrics and their search space."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from typing import Any

from controller.search.parameters import Parameter
from controller.session.sweep_objects import parameters_of
from controller.sweep import parse_sweep
from worker.protocol import ObjectiveMetric, StudyRecord
from worker.protocol.errors import BadInput


def fingerprint(metrics: Sequence[ObjectiveMetric], parameters: Sequence[Parameter]) -> str:
    """SHA-256 (hex) of metrics and search space, whether a sweep file or a program describes them.

    The order of the parameters does not count.
    """
    space: dict[str, Any] = {
        "metrics": [metric.to_dict() for metric in metrics],
        "parameters": {parameter.name: parameter.describe() for parameter in parameters},
    }
    return hashlib.sha256(json.dumps(space, sort_keys=True).encode()).hexdigest()


def is_same(record: StudyRecord, metrics: Sequence[ObjectiveMetric], parameters: Sequence[Parameter]) -> bool:
    """Whether a study that is on record has these metrics and this search space.

    Version 0.1 wrote other fingerprints: where they differ, the recorded description decides.
    """
    mark = fingerprint(metrics, parameters)
    if record.fingerprint == mark:
        return True
    recorded = recorded_parameters(record)
    return recorded is not None and fingerprint(record.metrics, recorded) == mark


def recorded_parameters(record: StudyRecord) -> list[Parameter] | None:
    """The search space that a study's record describes; None if it can't be read."""
    try:
        if "metric" in record.sweep.get("study", {}):
            return parameters_of(parse_sweep(record.sweep, record.name))
        described = record.sweep.get("parameters", {})
        return [Parameter.from_dict(data) for data in described.values()]
    except (BadInput, TypeError, KeyError, ValueError):
        return None
