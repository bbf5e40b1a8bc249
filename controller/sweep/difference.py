"""What differs between two sweeps' search spaces, for the user who reuses a study's name."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from controller.sweep.problems import key_text, show
from controller.sweep.same_space import search_space

_ABSENT = object()


def describe_difference(old: Mapping[str, Any], new: Mapping[str, Any]) -> str:
    """One readable line on how metrics and parameters differ.

    Args:
        old: `Sweep.to_dict()` of the stored study.
        new: `Sweep.to_dict()` of the sweep file.

    Returns:
        Such as `parameters.lr.high: 0.1 → 0.2; parameters.momentum: only in the stored study`; empty if
        and only if both have the same `search_space_fingerprint`.
    """
    before, after = search_space(old), search_space(new)
    changes = []
    if _differ(before["metrics"], after["metrics"]):
        changes.append(f"study.metric: {_metrics(before['metrics'])} → {_metrics(after['metrics'])}")
    parameters = {**before["parameters"], **after["parameters"]}
    for name in parameters:
        changes.extend(_parameter(name, before["parameters"].get(name), after["parameters"].get(name)))
    return "; ".join(changes)


def _parameter(name: str, old: Mapping[str, Any] | None, new: Mapping[str, Any] | None) -> list[str]:
    path = ("parameters", name)
    if new is None:
        return [f"{key_text(path)}: only in the stored study"]
    if old is None:
        return [f"{key_text(path)}: only in the sweep file"]
    if ("choices" in old) != ("choices" in new):
        return [f"{key_text(path)}: {_kind(old)} → {_kind(new)}"]
    return [
        f"{key_text((*path, key))}: {_value(old, key)} → {_value(new, key)}"
        for key in {**old, **new}
        if _differ(old.get(key, _ABSENT), new.get(key, _ABSENT))
    ]


def _differ(old: object, new: object) -> bool:
    if old is _ABSENT or new is _ABSENT:
        return old is not new
    # As text, because 1, 1.0 and True are equal in Python and three different choices in a file.
    return json.dumps(old, sort_keys=True) != json.dumps(new, sort_keys=True)


def _kind(parameter: Mapping[str, Any]) -> str:
    if "choices" in parameter:
        return f"choices {show(parameter['choices'])}"
    return f"{parameter['type']} from {show(parameter['low'])} to {show(parameter['high'])}"


def _metrics(metrics: list[dict[str, str]]) -> str:
    return ", ".join(f"{metric['name']} ({metric['goal']})" for metric in metrics)


def _value(parameter: Mapping[str, Any], key: str) -> str:
    if key in parameter:
        return show(parameter[key])
    return {"log": "false", "step": "1" if parameter.get("type") == "int" else "none"}.get(key, "none")
