"""What a replay is asked to have otherwise: ``--with pruner.type=asha``, ``--with budget.max_trials=50``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from controller.insight.replay_record import Recorded
from controller.sweep.overrides import Override, apply_override, parse_override
from controller.sweep.parsing import parse_sweep
from worker.protocol.errors import BadInput

LIMITS = (
    "max_trials", "max_iterations", "min_iterations", "max_failures", "total_compute", "wall_clock",
    "time_per_trial",
)  # fmt: skip
"""Keys of ``[budget]`` that a replay can change."""
_TIMES = ("total_compute", "wall_clock", "time_per_trial")


@dataclass(frozen=True, kw_only=True)
class Changes:
    """What is otherwise."""

    pruner: Mapping[str, Any] | None = None
    """As ``[pruner]`` has it; empty for none, None for the one that was recorded."""
    budget: Mapping[str, float | None] = field(default_factory=dict)
    """By key of ``[budget]``; times in seconds."""

    def as_dict(self) -> dict[str, Any]:
        pruner = {} if self.pruner is None else {"pruner": dict(self.pruner)}
        return pruner | ({"budget": dict(self.budget)} if self.budget else {})


def changes_of(recorded: Recorded, texts: Sequence[str]) -> Changes:
    """What the texts ask for, each as ``key=value``.

    Raises:
        BadInput: a key or value can't be, or is one of which the log can't tell what would have come of it.
    """
    overrides = [_parsed(text) for text in texts]
    pruner = _pruner_before(recorded, overrides)
    data = {**_SWEEP, "study": {**_SWEEP["study"]}, "pruner": pruner} if pruner else dict(_SWEEP)
    try:
        for override in overrides:
            data = apply_override(data, override)
    except ValueError as error:
        raise BadInput(_said(str(error))) from error
    sweep = parse_sweep(data, "--with")
    for override in overrides:
        _refuse(override, recorded)
    chosen = {override.path[1] for override in overrides if override.path[0] == "budget"}
    limits = {
        name: getattr(sweep.budget, f"{name}_s" if name in _TIMES else name)
        for name in LIMITS
        if name in chosen
    }
    is_other = any(override.path[0] == "pruner" for override in overrides)
    given = sweep.pruner.to_dict() if sweep.pruner is not None else {}
    return Changes(pruner=given if is_other else None, budget=limits)


_SWEEP: dict[str, Any] = {
    "study": {"name": "replay", "metric": {"name": "value", "goal": "minimize"}},
    "objective": {"function": "module:function"},
    "parameters": {"x": {"choices": [0]}},
    "budget": {"max_trials": 1},
}
"""A sweep file in which the changes are checked as those of any other."""


def _pruner_before(recorded: Recorded, overrides: Sequence[Override]) -> dict[str, Any]:
    """The recorded pruner, where options of it are changed; another type comes with its own options."""
    known = dict(recorded.settings.get("pruner", {}))
    is_another = any(override.path in (("pruner",), ("pruner", "type")) for override in overrides)
    return {} if is_another or "type" not in known else known


def _parsed(text: str) -> Override:
    try:
        return parse_override(text)
    except ValueError as error:
        raise BadInput(_said(str(error))) from error


def _said(text: str) -> str:
    return text.replace("--set", "--with")


def _refuse(override: Override, recorded: Recorded) -> None:
    section, key = override.path[0], override.path[1] if len(override.path) > 1 else ""
    name = ".".join(override.path)
    can = f"a replay can change pruner.* and budget.({', '.join(LIMITS)})"
    if section == "pruner":
        if len(recorded.directions) > 1:
            raise BadInput(
                f"--with {name}: the study has {len(recorded.directions)} objectives; Optuna prunes a single "
                "one"
            )
    elif section != "budget":
        why = "other parameters have other results, which nobody has computed"
        raise BadInput(f"--with {name}: {why}; {can}" if section == "sampler" else f"--with {name}: {can}")
    elif key not in LIMITS:
        raise BadInput(f"--with {name}: what it would have changed isn't in the log; {can}")
