"""What matters in a study: how much each parameter does for its result."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from controller.figures.by_optuna import importances_of
from controller.results.study_data import StudyData


@dataclass(frozen=True, kw_only=True)
class Matter:
    """One parameter, and what it does for the result."""

    name: str
    share: float
    """Of all importances, from 0 to 1 (PED-ANOVA: how far the best tenth lie elsewhere than the others)."""


@dataclass(frozen=True, kw_only=True)
class Importance:
    """What matters for one objective of a study."""

    study: str
    objective: str
    """Key of the metric."""
    parameters: tuple[Matter, ...]
    """The most important first; empty where nobody can tell."""

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


def importance_of(data: StudyData, objective: int = 0) -> Importance:
    """What matters in a study.

    Args:
        objective: place of the objective that is looked at.
    """
    shares = importances_of(data, objective)
    return Importance(
        study=data.study.name,
        objective=data.objectives[objective].key,
        parameters=tuple(Matter(name=name, share=share) for name, share in shares.items()),
    )
