"""The sweep file: what a study searches, runs and may use.

`load_sweep` reads one from disk, `parse_sweep` from a dict; both give a `Sweep` or raise `BadInput`
with every problem at once.
"""

from __future__ import annotations

from controller.sweep.difference import describe_difference
from controller.sweep.durations import parse_duration
from controller.sweep.loading import load_sweep
from controller.sweep.parsing import parse_sweep
from controller.sweep.schema import (
    ArtifactsSection,
    BudgetSection,
    ChoiceParameter,
    CodeSection,
    Constraint,
    CostSection,
    FloatParameter,
    IntParameter,
    Metric,
    ObjectiveSection,
    Parameter,
    PrunerSection,
    QueueSection,
    SamplerSection,
    StudySection,
    Sweep,
)

__all__ = [
    "ArtifactsSection",
    "BudgetSection",
    "ChoiceParameter",
    "CodeSection",
    "Constraint",
    "CostSection",
    "FloatParameter",
    "IntParameter",
    "Metric",
    "ObjectiveSection",
    "Parameter",
    "PrunerSection",
    "QueueSection",
    "SamplerSection",
    "StudySection",
    "Sweep",
    "describe_difference",
    "load_sweep",
    "parse_duration",
    "parse_sweep",
]
