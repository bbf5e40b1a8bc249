"""What a study was started with, for people."""

from __future__ import annotations

from typing import Any

import yaml

from worker.protocol import StudyRecord

HIDDEN = "(not shown)"
"""Stands for values of environment variables: keys of services are among them."""


def configuration(study: StudyRecord) -> str:
    """A study's configuration as YAML, as a sweep file would have it; empty where its record has none."""
    if not study.sweep:
        return ""
    shown: dict[str, Any] = dict(study.sweep)
    objective = shown.get("objective")
    if isinstance(objective, dict) and isinstance(objective.get("env"), dict):
        shown["objective"] = {**objective, "env": dict.fromkeys(objective["env"], HIDDEN)}
    return yaml.safe_dump(shown, sort_keys=False, allow_unicode=True, width=100)
