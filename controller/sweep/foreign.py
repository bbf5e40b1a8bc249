"""Files of other tools that somebody gives for a sweep file: named, instead of a list of unknown keys."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_NEEDS = "this is read as a sweep file of optuna-rq, with [study], [objective], [parameters] and [budget]"

# Tool → keys that it has and others have not, keys that it shares with others, and what ours are called.
_TOOLS: dict[str, tuple[tuple[str, ...], tuple[str, ...], str]] = {
    "a Weights & Biases sweep": (
        ("method", "program", "early_terminate", "run_cap"),
        ("parameters", "metric", "command", "entity"),
        "method is sampler.type here, program objective.script, values choices, min and max low and high, "
        "early_terminate [pruner], run_cap budget.max_trials",
    ),
    "a Determined experiment": (
        ("searcher", "hyperparameters"),
        ("entrypoint", "resources", "max_restarts"),
        "hyperparameters are [parameters] here, searcher.metric study.metric, entrypoint objective.command",
    ),
    "an NNI experiment": (
        ("trialCommand", "trialConcurrency", "searchSpace", "searchSpaceFile", "trainingService", "tuner"),
        ("experimentName", "maxTrialNumber", "assessor"),
        "searchSpace is [parameters] here, trialCommand objective.command, maxTrialNumber budget.max_trials",
    ),
    "a Polyaxon operation": (
        ("matrix",),
        ("kind", "component", "version", "joins"),
        "matrix.params are [parameters] here",
    ),
    "a Katib experiment": (
        ("apiVersion",),
        ("kind", "metadata", "spec"),
        "spec.parameters are [parameters] here, spec.objective study.metric, maxTrialCount budget.max_trials",
    ),
    "a Hydra configuration": (
        ("hydra",),
        ("defaults",),
        "hydra.sweeper.params are [parameters] here, n_trials is budget.max_trials",
    ),
}


def looks_like(data: Mapping[str, Any]) -> str | None:
    """What a file of another tool seems to be, and what to write instead; None for any other file."""
    if any(section in data for section in ("study", "objective")):
        return None
    for name, (own, shared, words) in _TOOLS.items():
        found = [key for key in data if key in own or key in shared]
        if len(found) > 1 and any(key in own for key in found):
            return f"looks like {name} (it has {', '.join(found)}); {_NEEDS}: {words}"
    return None
