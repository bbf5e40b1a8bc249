"""Checks of a sweep's values, each by itself and against the others, once all have the right types.

Every function takes what could be read and yields problems; none raises. A section or parameter that could
not be read is None: its own problem is reported already, and problems that follow from it would only hide it.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path as FilePath

from controller.sweep.conditions import check_when
from controller.sweep.options import is_plain
from controller.sweep.problems import Path, Problem, closest, show
from controller.sweep.schema import (
    ArtifactsSection,
    BudgetSection,
    ChoiceParameter,
    CodeSection,
    ConfirmSection,
    Constraint,
    CostSection,
    FloatParameter,
    Metric,
    ObjectiveSection,
    Parameter,
    PrunerSection,
    QueueSection,
    SamplerSection,
    StudySection,
)
from controller.sweep.stop_rules import NoImprovement, check_rules
from controller.sweep.tries import check_tries, check_values
from controller.sweep.values import Value
from worker.protocol.command import FLAG, RESERVED, flags, placeholders
from worker.protocol.errors import BadInput

MAX_NAME_CHARS = 200
_REPORT = re.compile(r".*[^/]\.(html?|md|markdown)", re.IGNORECASE | re.DOTALL)
ENDS_BY_ITSELF = ("grid", "brute_force")
SINGLE_METRIC_SAMPLERS = ("cmaes",)

_MODULE_AND_NAME = re.compile(r"(?!\d)\w+(?:\.(?!\d)\w+)*:(?!\d)\w+(?:\.(?!\d)\w+)*")


@dataclass(kw_only=True)
class Parts:
    """The sections of a sweep as far as they could be read.

    Attributes:
        doubtful: by section, the keys that were misspelt or mistyped, and the keys they were meant to be; one
            that seems to be missing may be among these.
    """

    study: StudySection | None = None
    metrics: tuple[Metric | None, ...] | None = None
    constraints: tuple[Constraint | None, ...] = ()
    objective: ObjectiveSection | None = None
    parameters: dict[str, Parameter | None] | None = None
    tries: tuple[Mapping[str, Value] | None, ...] = ()
    sampler: SamplerSection | None = None
    pruner: PrunerSection | None = None
    budget: BudgetSection | None = None
    queue: QueueSection | None = None
    artifacts: ArtifactsSection | None = None
    cost: CostSection | None = None
    code: CodeSection | None = None
    confirm: ConfirmSection | None = None
    doubtful: dict[str, frozenset[str]] = field(default_factory=dict)


def check(parts: Parts, source: str) -> Iterator[Problem]:
    """Yield every problem in the parts' values and in how the parts fit together.

    Args:
        parts: what could be read.
        source: path of the sweep file; the hint for a missing script looks beside it.
    """
    yield from _study(parts)
    if parts.objective is not None:
        yield from _objective(parts.objective, parts.doubtful.get("objective", frozenset()), source)
        yield from _objective_parameters(parts.objective, parts.parameters)
    if parts.parameters is not None:
        yield from _parameters(parts.parameters)
        yield from check_tries(parts.tries, parts.parameters)
    yield from _sampler(parts)
    if parts.pruner is not None and parts.metrics is not None and len(parts.metrics) > 1:
        text = f"{len(parts.metrics)} metrics can't be pruned: Optuna prunes a single one; leave [pruner] out"
        yield Problem(path=("pruner",), text=text, related=(("study", "metric"),))
    if parts.study is not None and parts.study.on_nan == "prune" and len(parts.metrics or ()) > 1:
        text = "several metrics can't be pruned: Optuna prunes a single one; take fail or ignore"
        yield Problem(path=("study", "on_nan"), text=text, related=(("study", "metric"),))
    if parts.budget is not None:
        yield from check_budget(parts.budget, parts)
    if parts.queue is not None:
        yield from _name(("queue", "name"), parts.queue.name)


def _name(path: Path, name: str) -> Iterator[Problem]:
    if not name.strip():
        yield Problem(path=path, text="must not be empty")
    elif len(name) > MAX_NAME_CHARS:
        yield Problem(
            path=path, text=f"must have at most {MAX_NAME_CHARS} characters, got {len(name)}: {show(name)}"
        )
    elif any(unicodedata.category(char) in ("Cc", "Cs", "Zl", "Zp") for char in name):
        yield Problem(path=path, text=f"must not have control characters, got {show(name)}")


def _study(parts: Parts) -> Iterator[Problem]:
    if parts.study is not None:
        yield from _name(("study", "name"), parts.study.name)
        if parts.study.project is not None:
            yield from _name(("study", "project"), parts.study.project)
        yield from _start_from(parts.study)
        yield from _report(parts.study.report)
    metrics = parts.metrics or ()
    for index, metric in enumerate(metrics):
        path: Path = ("study", "metric", index, "name") if len(metrics) > 1 else ("study", "metric", "name")
        if metric is None:
            continue
        yield from _name(path, metric.name)
        if any(earlier is not None and earlier.name == metric.name for earlier in metrics[:index]):
            yield Problem(path=path, text=f"{show(metric.name)} is there twice; name each metric once")
    yield from _constraints(parts.constraints)


def _start_from(study: StudySection) -> Iterator[Problem]:
    path: Path = ("study", "start_from")
    if study.start_from is None:
        return
    yield from _name(path, study.start_from)
    if study.start_from == study.name and study.name.strip():
        text = "is this study itself; name an older one, or leave it out: a study goes on by itself"
        yield Problem(path=path, text=text, related=(("study", "name"),))


def _report(report: str | None) -> Iterator[Problem]:
    path: Path = ("study", "report")
    if report is None:
        return
    if "\0" in report:
        yield Problem(path=path, text=f"must be the path of a file, got {show(report)}")
    elif not _REPORT.fullmatch(report):
        yield Problem(path=path, text=f"must end in .html or .md, got {show(report)}")


def _constraints(constraints: tuple[Constraint | None, ...]) -> Iterator[Problem]:
    taken: set[tuple[str, str]] = set()
    for index, constraint in enumerate(constraints):
        if constraint is None:
            continue
        path: Path = ("study", "constraints", index, "name")
        yield from _name(path, constraint.name)
        if (constraint.max is None) == (constraint.min is None):
            continue
        bound = "min" if constraint.max is None else "max"
        if (constraint.name, bound) in taken:
            yield Problem(path=path, text=f"{show(constraint.name)} has a {bound} already")
        taken.add((constraint.name, bound))


# The objective


def _objective(objective: ObjectiveSection, doubtful: frozenset[str], source: str) -> Iterator[Problem]:
    kinds = objective.kinds
    if len(kinds) > 1:
        yield Problem(path=("objective",), text=f"has {' and '.join(kinds)}: keep exactly one of them")
    elif not kinds and not doubtful & {"function", "script", "command", "optuna"}:
        yield Problem(path=("objective",), text="needs one of function, script, command or optuna")
    if objective.args and objective.script is None and "script" not in doubtful:
        text = "only a script takes args; a command has its arguments in command itself"
        yield Problem(path=("objective", "args"), text=text)
    yield from _targets(objective)
    if objective.script is not None:
        yield from _script(objective.script, source)
    if objective.command is not None and not (objective.command and objective.command[0].strip()):
        yield Problem(path=("objective", "command"), text="names no program to run")
    for path, texts in (("command", objective.command or ()), ("args", objective.args)):
        if any("\0" in text for text in texts):
            yield Problem(path=("objective", path), text="an argument can't have a NUL character")
    yield from _environment(objective)
    if objective.reuse and (objective.script is not None or objective.command is not None):
        text = "a script or a command is a program of its own each time; only a function's process is reused"
        yield Problem(path=("objective", "reuse"), text=text)
    if objective.reuse_limit is not None and not objective.reuse and "reuse" not in doubtful:
        text = "no process is reused; set reuse = true, or leave it out"
        yield Problem(path=("objective", "reuse_limit"), text=text)


def _environment(objective: ObjectiveSection) -> Iterator[Problem]:
    for name, value in objective.env.items():
        if not name or "=" in name or "\0" in name + value:
            text = (
                "can't be an environment variable: the name must not be empty or have =, neither may have NUL"
            )
            yield Problem(path=("objective", "env", name), text=text)


def _targets(objective: ObjectiveSection) -> Iterator[Problem]:
    for kind in ("function", "optuna"):
        spec = getattr(objective, kind)
        if spec is not None and not _MODULE_AND_NAME.fullmatch(spec):
            yield Problem(path=("objective", kind), text=_not_a_spec(spec))


def _not_a_spec(spec: str) -> str:
    module, _, name = spec.rpartition(":") if ":" in spec else spec.rpartition(".")
    guess = f"{re.sub(r'[.]py$', '', module.removeprefix('./')).replace('/', '.')}:{name}"
    hint = f'; did you mean "{guess}"?' if _MODULE_AND_NAME.fullmatch(guess) and guess != spec else ""
    return f"must be module:name, such as examples.digits:train, got {show(spec)}{hint}"


def _script(script: str, source: str) -> Iterator[Problem]:
    path = ("objective", "script")
    try:
        found, folder = FilePath(script).is_file(), FilePath(script).is_dir()
        beside = FilePath(source).parent / script
        is_beside = beside.is_file()
    except (OSError, ValueError):  # a name too long, or with NUL
        found = folder = is_beside = False
    if found:
        return
    here = FilePath.cwd()
    if folder or not script.strip():
        yield Problem(path=path, text=f"{show(script)} is not a file")
    elif is_beside:
        text = f"no file {show(script)} in the current folder ({here}); did you mean {show(str(beside))}?"
        yield Problem(path=path, text=text)
    else:
        text = f"no file {show(script)} in the current folder ({here}), which its path starts from"
        yield Problem(path=path, text=text)


def _objective_parameters(
    objective: ObjectiveSection, parameters: Mapping[str, Parameter | None] | None
) -> Iterator[Problem]:
    """Yield parameters whose names don't suit the objective's kind."""
    if parameters is None or len(objective.kinds) != 1:
        return
    if not parameters and objective.kind != "optuna":
        text = 'nothing to search; give parameters such as lr = { type = "float", low = 1e-5, high = 0.1 }'
        yield Problem(path=("parameters",), text=text)
    if objective.kind == "function":
        for name in parameters:
            if name == "task":
                text = 'the function\'s argument "task" is the task itself; give the parameter another name'
                yield Problem(path=("parameters", name), text=text)
            elif name and not name.isidentifier():
                text = "can't be an argument of a Python function; use letters, digits and _ only"
                yield Problem(path=("parameters", name), text=text)
    if objective.command:
        yield from _placeholders(objective.command, parameters)


def _placeholders(command: tuple[str, ...], parameters: Mapping[str, Parameter | None]) -> Iterator[Problem]:
    path: Path = ("objective", "command")
    try:
        used = placeholders(command)
    except BadInput as error:
        yield from (Problem(path=path, text=text) for text in error.problems)
        return
    yield from _flags(command, parameters)
    for name in sorted(placeholders(command[:1]) & parameters.keys()):
        parameter = parameters[name]
        if parameter is not None and parameter.when is not None:
            text = f"the program itself can't be {{{name}}}, which some trials lack because of its when"
            yield Problem(path=path, text=text, related=(("parameters", name),))
    for name in sorted(used - RESERVED - parameters.keys()):
        meant = closest(name, [*parameters, *sorted(RESERVED)])
        hint = f'did you mean "{{{meant}}}"? ' if meant else ""
        text = f"no parameter for the placeholder {{{name}}}; {hint}(write {{{{ and }}}} for plain braces)"
        yield Problem(path=path, text=text)
    for name in parameters:
        if name in RESERVED or name.startswith(FLAG):
            text = f"the placeholder {{{name}}} has a meaning of its own; give the parameter another name"
            yield Problem(path=("parameters", name), text=text)
        elif name and name not in used:
            text = f"the command does not use it: put {{{name}}} into objective.command or leave it out"
            yield Problem(path=("parameters", name), text=text, related=(path,))


def _flags(command: tuple[str, ...], parameters: Mapping[str, Parameter | None]) -> Iterator[Problem]:
    """Yield flags that are the program itself, and those of parameters that are not true or false."""
    path: Path = ("objective", "command")
    if flags(command[:1]):
        yield Problem(path=path, text=f"the program itself can't be a flag: {show(command[0])}")
    for name in sorted(flags(command)):
        if name in RESERVED:
            yield Problem(path=path, text=f"{{{name}}} is neither true nor false, and can't be a flag")
        parameter = parameters.get(name)
        if parameter is None:
            continue
        choices = parameter.choices if isinstance(parameter, ChoiceParameter) else None
        others = [choice for choice in choices or () if not isinstance(choice, bool)]
        if choices is None or others:
            has = "a range of numbers" if choices is None else f"the choice {show(others[0])}"
            text = (
                f"the flag {{{FLAG}{name}}} takes true and false only, and {name} has {has}; "
                f"write {name} = [true, false], or {{{name}}} for its value"
            )
            yield Problem(path=path, text=text, related=(("parameters", name),))


# The parameters


def _parameters(parameters: Mapping[str, Parameter | None]) -> Iterator[Problem]:
    earlier: dict[str, Parameter | None] = {}
    for name, parameter in parameters.items():
        yield from _name(("parameters", name), name)
        if parameter is not None:
            yield from check_when(("parameters", name, "when"), name, parameter, earlier, parameters)
        earlier[name] = parameter


# The search and its end


def _sampler(parts: Parts) -> Iterator[Problem]:
    sampler = parts.sampler
    if sampler is None:
        return
    kind, fixed = sampler.type, frozenset[str]()
    path: Path = ("sampler", "type")
    if sampler.type == "partial_fixed":
        yield from _fixed(sampler, parts)
        base, given = sampler.options.get("base"), sampler.options.get("fixed")
        kind = str(base.get("type", "tpe")) if isinstance(base, Mapping) else "tpe"
        path = ("sampler", "base", "type")
        fixed = frozenset(given if isinstance(given, Mapping) else ())
    if kind in SINGLE_METRIC_SAMPLERS and parts.metrics is not None and len(parts.metrics) > 1:
        text = f"{kind} takes a single metric; tpe, nsgaii, nsgaiii, gp and random take several"
        yield Problem(path=path, text=text, related=(("study", "metric"),))
    if kind not in ENDS_BY_ITSELF:
        return
    for name, parameter in (parts.parameters or {}).items():
        if (
            isinstance(parameter, FloatParameter)
            and parameter.step is None
            and parameter.low < parameter.high
            and name not in fixed
        ):
            text = f"the {kind} sampler needs finitely many values: give step, or choices = [...]"
            yield Problem(path=("parameters", name), text=text, related=(path,))
        if sampler.type == "grid" and parameter is not None and parameter.when is not None:
            text = "the grid sampler knows no conditions; take brute_force, or leave when out"
            yield Problem(path=("parameters", name, "when"), text=text, related=(("sampler", "type"),))
    define_by_run = parts.objective is not None and parts.objective.kinds == ("optuna",)
    if sampler.type == "grid" and define_by_run and parts.parameters == {}:
        text = "grid needs the search space beforehand: declare it in [parameters], or take brute_force"
        yield Problem(path=("sampler", "type"), text=text)


def _fixed(sampler: SamplerSection, parts: Parts) -> Iterator[Problem]:
    path: Path = ("sampler", "fixed")
    fixed, example = sampler.options.get("fixed"), "give the parameters that stay, such as { lr = 0.1 }"
    if fixed is None:
        if "fixed" not in parts.doubtful.get("sampler", frozenset()):
            yield Problem(path=path, text=f"missing; {example}")
    elif not isinstance(fixed, Mapping):
        yield Problem(path=path, text=f"must be a table, got {show(fixed)}; {example}")
    elif not fixed:
        yield Problem(path=path, text=f"names no parameter; {example}")
    elif parts.parameters is not None and is_plain(fixed):
        yield from check_values(path, fixed, parts.parameters)


def check_budget(budget: BudgetSection, parts: Parts) -> Iterator[Problem]:
    """Yield limits that don't fit together, and a study without an end."""
    low, high = budget.min_iterations, budget.max_iterations
    if low is not None and high is not None and low > high:
        text = f"{low} is above max_iterations ({high})"
        yield Problem(path=("budget", "min_iterations"), text=text, related=(("budget", "max_iterations"),))
    rules, problems = check_rules(
        budget.stop_when,
        [(metric.name, metric.goal == "maximize") for metric in parts.metrics or () if metric],
        constrained=bool(parts.constraints),
        conditional=[name for name, one in (parts.parameters or {}).items() if one and one.when],
    )
    yield from problems
    stagnation = next((rule.trials for rule in rules if isinstance(rule, NoImprovement)), None)
    limits = (budget.max_trials, budget.wall_clock_s, budget.total_compute_s, stagnation)
    doubtful = problems or parts.doubtful.get("budget", frozenset()) & set(BudgetSection.ENDING)
    if parts.sampler is None or parts.sampler.type in ENDS_BY_ITSELF or doubtful:
        return
    if all(limit is None for limit in limits):
        text = "the study would never end: set budget.max_trials (or wall_clock, or total_compute)"
        if rules:
            text = f'"{rules[0]}" may never hold: set budget.max_trials (or wall_clock, or total_compute) too'
        yield Problem(path=("budget",), text=text)
