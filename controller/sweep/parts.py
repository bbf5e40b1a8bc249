"""Single parts of a sweep, checked as the whole file is: a budget, a configuration."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from controller.sweep.checks import Parts, check_budget
from controller.sweep.parameters import read_parameter
from controller.sweep.parsing import plain_line
from controller.sweep.problems import Path, Problem
from controller.sweep.reading import read_section
from controller.sweep.schema import BudgetSection, Parameter, SamplerSection
from controller.sweep.tries import check_values
from controller.sweep.values import Value, read_value
from worker.protocol.errors import BadInput


def read_budget(table: Mapping[str, Any], sampler: str | None, source: str) -> BudgetSection:
    """A `[budget]` by itself.

    Args:
        sampler: its type; None where the study may go on without an end.
        source: what to call it in messages.

    Raises:
        BadInput: with one message for every problem.
    """
    reading = read_section(BudgetSection, table, ("budget",), "[budget]")
    problems = list(reading.problems)
    if reading.value is not None:
        parts = Parts(sampler=SamplerSection(type=sampler) if sampler else None, doubtful={})
        problems += check_budget(reading.value, parts)
    _refuse(problems, source)
    assert reading.value is not None  # none of its keys is required
    return reading.value


def read_try(given: Mapping[str, Any], parameters: Mapping[str, Any], source: str) -> dict[str, Value]:
    """A configuration by itself, checked as `[[try]]` is.

    Args:
        given: name → the program's value.
        parameters: `[parameters]`, as `Sweep.to_dict` has it.
        source: what to call it in messages.

    Raises:
        BadInput: with one message for every problem.
    """
    searched: dict[str, Parameter | None] = {
        name: read_parameter(("parameters", name), table)[0] for name, table in parameters.items()
    }
    if not given:
        raise BadInput(f"{source}: names no parameter; there are {', '.join(searched) or 'none'}")
    found: dict[str, Value] = {}
    problems: list[Problem] = []
    for name, value in given.items():
        path: Path = (str(name),)
        try:
            found[str(name)] = read_value(value)
        except ValueError as error:
            problems.append(Problem(path=path, text=str(error)))
    problems += check_values((), found, searched)
    _refuse(problems, source)
    return found


def _refuse(problems: Iterable[Problem], source: str) -> None:
    lines = [plain_line(problem, source) for problem in problems]
    if lines:
        raise BadInput(*lines)
