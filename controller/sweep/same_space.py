"""The search space of a sweep in a form where equal ones are equal."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any


def search_space(sweep: Mapping[str, Any]) -> dict[str, Any]:
    """Metrics and parameters of a `Sweep.to_dict()`, in a form where equal search spaces are equal.

    Returns:
        `{"metrics": [{"name", "goal"}, …], "parameters": {name: table}}`.
    """
    metric = sweep["study"]["metric"]
    parameters: dict[str, Any] = {}
    for name, table in sweep.get("parameters", {}).items():
        parameters[name] = dict(table)
        if "when" in table:
            # The values of a condition are a set: their order means nothing.
            parameters[name]["when"] = {
                parent: sorted(values, key=json.dumps) for parent, values in table["when"].items()
            }
    return {"metrics": metric if isinstance(metric, list) else [metric], "parameters": parameters}
