"""Whether a base task can be run with the parameters that are searched."""

from __future__ import annotations

from collections.abc import Sequence

from controller.search.parameters import Parameter
from worker.protocol import TaskRecord
from worker.protocol.errors import BadInput
from worker.protocol.nearest import nearest
from worker.protocol.values import bare, full


def check_base_task(base: TaskRecord, parameters: Sequence[Parameter], *, allow_new_parameters: bool) -> None:
    """The base task can be run, and has the parameters that are searched.

    What a function or a command takes is checked where it is run. A script's parameters are known once it
    has run without a worker.

    Raises:
        BadInput: it has nothing to run, or lacks parameters; one line for each, with the nearest name.
    """
    names = [full(name) for parameter in parameters for name in parameter.names]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise BadInput(*(f"hyper_parameters: {name} is given twice" for name in twice))
    if not base.spec.objective:
        raise BadInput(
            f"base task {base.id} ({base.name}): nothing is known that a worker could run; run its script "
            "once by hand, not from a notebook"
        )
    if base.spec.objective.get("kind") != "script" or base.started_at is None:
        return
    known = [full(name) for name in base.spec.parameters]
    wanted = [name for parameter in parameters for name in parameter.names if full(name) not in known]
    problems = [_hydra_problem(base, name) for name in wanted if name.startswith("Hydra/")]
    if not allow_new_parameters:
        problems += [_problem(base, name, known) for name in wanted if not name.startswith("Hydra/")]
    if any(problems):
        raise BadInput(*filter(None, problems))


def _hydra_problem(base: TaskRecord, name: str) -> str | None:
    """Hydra refuses what its config doesn't have; in a program without Hydra the name would do nothing."""
    if "Args/overrides" in base.spec.parameters:
        return None
    return (
        f"parameter {name!r}: base task {base.name!r} has no command line of Hydra's, which alone takes "
        "parameters of section Hydra; run its script once by hand with @hydra.main, or connect the name"
    )


def _problem(base: TaskRecord, name: str, known: Sequence[str]) -> str:
    near = _same_in_another_section(name, known) or nearest(full(name), known, cutoff=0.5)
    if near:
        hint = f"did you mean {near!r}?"
    elif known:
        hint = f"it has {', '.join(known)}"
    else:
        hint = "it has none: connect them in its script with task.connect"
    return (
        f"parameter {name!r}: base task {base.name!r} has no such parameter; {hint} "
        "(allow_new_parameters=True lets it pass)"
    )


def _same_in_another_section(name: str, known: Sequence[str]) -> str | None:
    """The one parameter of that name in another section; None where there is none, or several."""
    found = [each for each in known if bare(each).casefold() == bare(name).casefold()]
    return found[0] if len(found) == 1 else None
