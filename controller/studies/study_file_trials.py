"""Optuna's trials in a study's file."""

from __future__ import annotations

import math
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from optuna.distributions import distribution_to_json, json_to_distribution
from optuna.trial import FrozenTrial, TrialState


def trial_to_json(trial: FrozenTrial) -> dict[str, Any]:
    """A trial as JSON types."""
    return {
        "number": trial.number,
        "state": trial.state.name,
        "values": None if trial.values is None else [_number(value) for value in trial.values],
        "started": trial.datetime_start.isoformat() if trial.datetime_start else None,
        "ended": trial.datetime_complete.isoformat() if trial.datetime_complete else None,
        "params": {name: _number(value) for name, value in trial.params.items()},
        "distributions": {name: distribution_to_json(found) for name, found in trial.distributions.items()},
        "user_attrs": trial.user_attrs,
        "system_attrs": trial.system_attrs,
        "reports": [[step, _number(value)] for step, value in trial.intermediate_values.items()],
    }


def _number(value: Any) -> Any:
    # JSON has no NaN and no infinities.
    return {"float": repr(value)} if isinstance(value, float) and not math.isfinite(value) else value


def _from_number(value: Any) -> Any:
    return float(value["float"]) if isinstance(value, dict) else value


def trial_from_json(data: Mapping[str, Any]) -> FrozenTrial:
    values = data["values"]
    return FrozenTrial(
        number=int(data["number"]),
        trial_id=-1,
        state=TrialState[data["state"]],
        value=None,
        values=None if values is None else [_from_number(value) for value in values],
        datetime_start=datetime.fromisoformat(data["started"]) if data["started"] else None,
        datetime_complete=datetime.fromisoformat(data["ended"]) if data["ended"] else None,
        params={name: _from_number(value) for name, value in data["params"].items()},
        distributions={name: json_to_distribution(text) for name, text in data["distributions"].items()},
        user_attrs=dict(data["user_attrs"]),
        system_attrs=dict(data["system_attrs"]),
        intermediate_values={int(step): _from_number(value) for step, value in data["reports"]},
    )
