"""From a plain dict to a `Sweep`, or to every problem in it.

Sections and parameters are read one by one. The good keys of a section with mistakes are still checked, so
that one run shows all problems.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from controller.sweep.checks import Parts, check
from controller.sweep.options import fold_pruner, fold_sampler
from controller.sweep.parameters import read_parameter
from controller.sweep.problems import Path, Problem, closest, key_text, one_line, show, unknown
from controller.sweep.reading import read_section
from controller.sweep.schema import (
    ArtifactsSection,
    BudgetSection,
    CodeSection,
    ConfirmSection,
    Constraint,
    CostSection,
    Metric,
    ObjectiveSection,
    PrunerSection,
    QueueSection,
    SamplerSection,
    StudySection,
    Sweep,
)
from controller.sweep.values import Value, read_value
from worker.protocol.errors import BadInput

SECTIONS = (
    "study", "objective", "parameters", "try", "sampler", "pruner", "budget", "queue", "artifacts", "code",
    "cost", "confirm",
)  # fmt: skip


def parse_sweep(data: Mapping[str, Any], source: str) -> Sweep:
    """The sweep that a dict describes, in the shape of a sweep file.

    Args:
        data: sections by name; not changed.
        source: what to call it in messages, normally the file's path.

    Raises:
        BadInput: with one message for every problem, `source: key: what is wrong`.
    """
    sweep, problems = examine(data, source)
    if sweep is None:
        raise BadInput(*(plain_line(problem, source) for problem in problems))
    return sweep


def plain_line(problem: Problem, source: str) -> str:
    """`examples/digits.toml: budget.max_trails: unknown key; did you mean "max_trials"?`"""
    return one_line(": ".join(part for part in (source, key_text(problem.path), problem.text) if part))


def examine(data: object, source: str) -> tuple[Sweep | None, list[Problem]]:
    """The sweep and no problems, or None and all of them (each once, in the order of `SECTIONS`)."""
    if not isinstance(data, Mapping):
        return None, [Problem(path=(), text=f"must have sections such as [study], got {show(data)}")]
    problems: list[Problem] = []
    for name in data:
        if name not in SECTIONS:
            text = unknown(str(name), SECTIONS, what="section", others="a sweep has")
            problems.append(Problem(path=(str(name),), text=text, unknown=True))
    parts = Parts()
    for name in SECTIONS:
        problems.extend(_READERS[name](data.get(name, _MISSING), parts, data))
    problems.extend(check(parts, source))
    problems = sorted(dict.fromkeys(problems), key=_place)
    if problems:
        return None, problems
    # Without problems these are all set; the type checker has to be told.
    if not (parts.study and parts.objective and parts.sampler and parts.budget):
        raise AssertionError(f"a section of {source} is missing without a problem")
    return (
        Sweep(
            study=parts.study,
            objective=parts.objective,
            parameters={name: value for name, value in (parts.parameters or {}).items() if value is not None},
            tries=tuple(known for known in parts.tries if known is not None),
            sampler=parts.sampler,
            pruner=parts.pruner,
            budget=parts.budget,
            queue=parts.queue or QueueSection(),
            artifacts=parts.artifacts or ArtifactsSection(),
            cost=parts.cost or CostSection(),
            code=parts.code,
            confirm=parts.confirm,
        ),
        [],
    )


_MISSING = object()


def _misspelt(section: str, data: Mapping[str, Any]) -> bool:
    """Whether an unknown section was probably meant to be this one, which then doesn't count as missing."""
    return any(closest(str(name), SECTIONS) == section for name in data if name not in SECTIONS)


def _place(problem: Problem) -> int:
    section = problem.path[0] if problem.path else ""
    return SECTIONS.index(str(section)) if section in SECTIONS else -1


def _read_study(raw: object, parts: Parts, data: Mapping[str, Any]) -> Iterator[Problem]:
    if raw is _MISSING:
        if not _misspelt("study", data):
            yield Problem(path=("study",), text="missing; give [study] with name and metric")
        return
    if isinstance(raw, Mapping) and "metric" in raw:
        metrics, problems = _read_metrics(raw["metric"])
        yield from problems
        parts.metrics = metrics
        # With a stand-in for a bad metric, the other keys can still be checked.
        stand_in = Metric(name="-", goal="minimize")
        raw = {**raw, "metric": tuple(metric or stand_in for metric in metrics or (None,))}
    if isinstance(raw, Mapping) and "constraints" in raw:
        parts.constraints, problems = _read_constraints(raw["constraints"])
        yield from problems
        known = tuple(constraint for constraint in parts.constraints if constraint is not None)
        raw = {**raw, "constraints": known}
    reading = read_section(StudySection, raw, ("study",), "[study]")
    yield from reading.problems
    parts.study = reading.value


def _read_metrics(raw: object) -> tuple[tuple[Metric | None, ...] | None, list[Problem]]:
    """One metric or several; None for one that can't be read."""
    path: Path = ("study", "metric")
    if not isinstance(raw, (list, Mapping)):
        text = f'must be {{ name = "...", goal = "maximize" }} or a list of such, got {show(raw)}'
        return None, [Problem(path=path, text=text)]
    if not raw:
        return None, [Problem(path=path, text="needs at least one metric, with name and goal")]
    if isinstance(raw, list):
        readings = [read_section(Metric, item, (*path, index), "a metric") for index, item in enumerate(raw)]
    else:
        readings = [read_section(Metric, raw, path, "a metric")]
    problems = [problem for reading in readings for problem in reading.problems]
    return tuple(reading.value for reading in readings), problems


def _read_constraints(raw: object) -> tuple[tuple[Constraint | None, ...], list[Problem]]:
    """The constraints; None for one that can't be read."""
    path: Path = ("study", "constraints")
    if not isinstance(raw, (list, tuple)):
        text = f'must be a list such as [{{ name = "memory/peak", max = 8e9 }}], got {show(raw)}'
        return (), [Problem(path=path, text=text)]
    constraints: list[Constraint | None] = []
    problems: list[Problem] = []
    for index, item in enumerate(raw):
        reading = read_section(Constraint, item, (*path, index), "a constraint")
        problems.extend(reading.problems)
        constraints.append(reading.value)
        if not isinstance(item, Mapping):
            continue
        bounds = [key for key in ("max", "min") if item.get(key) is not None]
        # An unknown key may well be the bound that seems to be missing.
        if len(bounds) > 1 or not (bounds or any(problem.unknown for problem in reading.problems)):
            problems.append(Problem(path=(*path, index), text="needs exactly one of max and min"))
    return tuple(constraints), problems


def _read_objective(raw: object, parts: Parts, data: Mapping[str, Any]) -> Iterator[Problem]:
    if raw is _MISSING:
        if not _misspelt("objective", data):
            text = "missing; give [objective] with one of function, script, command or optuna"
            yield Problem(path=("objective",), text=text)
        return
    reading = read_section(ObjectiveSection, raw, ("objective",), "[objective]")
    yield from reading.problems
    parts.objective = reading.value
    parts.doubtful["objective"] = reading.doubtful


def _read_parameters(raw: object, parts: Parts, data: Mapping[str, Any]) -> Iterator[Problem]:
    if raw is _MISSING:
        parts.parameters = None if _misspelt("parameters", data) else {}
        return
    if not isinstance(raw, Mapping):
        yield Problem(path=("parameters",), text=f"must be a table, got {show(raw)}")
        return
    parts.parameters = {}
    for name, value in raw.items():
        path: Path = ("parameters", str(name))
        parameter, problems = read_parameter(path, value)
        # A parameter with problems of its own is left out of the checks across parameters.
        parts.parameters[str(name)] = None if problems else parameter
        yield from problems


def _read_try(raw: object, parts: Parts, data: Mapping[str, Any]) -> Iterator[Problem]:
    if raw is _MISSING:
        return
    if isinstance(raw, Mapping):
        yield Problem(path=("try",), text="write [[try]], with two brackets: there may be several")
        return
    if not isinstance(raw, (list, tuple)):
        yield Problem(path=("try",), text=f"must be tables of parameter to value, got {show(raw)}")
        return
    tries: list[Mapping[str, Any] | None] = []
    for index, table in enumerate(raw):
        tries.append(None)
        if not isinstance(table, Mapping):
            text = f"must be a table of parameter to value, got {show(table)}"
            yield Problem(path=("try", index), text=text)
            continue
        read: dict[str, Value] = {}
        for name, value in table.items():
            try:
                read[str(name)] = read_value(value)
            except ValueError as error:
                yield Problem(path=("try", index, str(name)), text=str(error))
        if len(read) == len(table):
            tries[index] = read
    parts.tries = tuple(tries)


def _read_sampler(raw: object, parts: Parts, data: Mapping[str, Any]) -> Iterator[Problem]:
    if raw is _MISSING:
        parts.sampler = None if _misspelt("sampler", data) else SamplerSection()
        return
    folded = fold_sampler(raw)
    reading = read_section(SamplerSection, folded.table, ("sampler",), "[sampler]")
    yield from (*folded.problems, *reading.problems)
    parts.sampler = reading.value if folded.clear else None
    parts.doubtful["sampler"] = folded.doubtful


def _read_pruner(raw: object, parts: Parts, data: Mapping[str, Any]) -> Iterator[Problem]:
    if raw is _MISSING:
        return
    folded = fold_pruner(raw)
    reading = read_section(PrunerSection, folded.table, ("pruner",), "[pruner]")
    yield from (*folded.problems, *reading.problems)
    if folded.clear and reading.value is not None and reading.value.type != "none":
        parts.pruner = reading.value


def _read_budget(raw: object, parts: Parts, data: Mapping[str, Any]) -> Iterator[Problem]:
    if raw is _MISSING and _misspelt("budget", data):
        return
    reading = read_section(BudgetSection, {} if raw is _MISSING else raw, ("budget",), "[budget]")
    yield from reading.problems
    parts.budget = reading.value
    parts.doubtful["budget"] = reading.doubtful


def _read_queue(raw: object, parts: Parts, data: Mapping[str, Any]) -> Iterator[Problem]:
    reading = read_section(QueueSection, {} if raw is _MISSING else raw, ("queue",), "[queue]")
    yield from reading.problems
    parts.queue = reading.value


def _read_artifacts(raw: object, parts: Parts, data: Mapping[str, Any]) -> Iterator[Problem]:
    reading = read_section(ArtifactsSection, {} if raw is _MISSING else raw, ("artifacts",), "[artifacts]")
    yield from reading.problems
    parts.artifacts = reading.value


def _read_cost(raw: object, parts: Parts, data: Mapping[str, Any]) -> Iterator[Problem]:
    reading = read_section(CostSection, {} if raw is _MISSING else raw, ("cost",), "[cost]")
    yield from reading.problems
    parts.cost = reading.value
    cost = reading.value
    if cost is not None and cost.cpu_hour is not None and cost.cpus is None:
        yield Problem(path=("cost", "cpu_hour"), text="needs `cpus`, the CPUs of one trial")


def _read_code(raw: object, parts: Parts, data: Mapping[str, Any]) -> Iterator[Problem]:
    if raw is _MISSING:
        return
    reading = read_section(CodeSection, raw, ("code",), "[code]")
    yield from reading.problems
    parts.code = reading.value


def _read_confirm(raw: object, parts: Parts, data: Mapping[str, Any]) -> Iterator[Problem]:
    if raw is _MISSING:
        return
    reading = read_section(ConfirmSection, raw, ("confirm",), "[confirm]")
    yield from reading.problems
    parts.confirm = reading.value


_READERS = {
    "study": _read_study,
    "objective": _read_objective,
    "parameters": _read_parameters,
    "try": _read_try,
    "sampler": _read_sampler,
    "pruner": _read_pruner,
    "budget": _read_budget,
    "queue": _read_queue,
    "artifacts": _read_artifacts,
    "code": _read_code,
    "cost": _read_cost,
    "confirm": _read_confirm,
}
