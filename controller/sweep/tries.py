"""Checks that the configurations given in advance are points of the search space."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from controller.sweep.conditions import never
from controller.sweep.problems import Path, Problem, closest, show
from controller.sweep.schema import Parameter
from controller.sweep.values import Value, same


def check_tries(
    tries: Sequence[Mapping[str, Value] | None], parameters: Mapping[str, Parameter | None]
) -> Iterator[Problem]:
    """Yield the problems in `[[try]]`; None stands for a table with problems of its own."""
    for index, known in enumerate(tries):
        path: Path = ("try", index)
        if known is None:
            continue
        if not known:
            yield Problem(path=path, text="names no parameter")
        yield from check_values(path, known, parameters)
        for earlier, other in enumerate(tries[:index]):
            if known and other is not None and _equal(known, other):
                yield Problem(path=path, text=f"the same as try[{earlier}]", related=(("try", earlier),))
                break


def check_values(
    path: Path, given: Mapping[str, Value], parameters: Mapping[str, Parameter | None]
) -> Iterator[Problem]:
    """Yield unknown names, impossible values, and parameters whose condition doesn't hold."""
    for name, value in given.items():
        here = (*path, name)
        if name not in parameters:
            meant = closest(name, list(parameters))
            hint = f'did you mean "{meant}"?' if meant else "name one of [parameters]"
            yield Problem(path=here, text=f"unknown parameter; {hint}")
            continue
        parameter = parameters[name]
        reason = never(parameter, value)
        if reason is not None:
            text = f"{show(name)} is never {show(value)}: {reason}"
            yield Problem(path=here, text=text, related=(("parameters", name),))
        for parent, values in ((parameter.when or {}) if parameter is not None else {}).items():
            if parent in given and not any(same(given[parent], known) for known in values):
                text = f"{show(name)} is there only if {show(parent)} is {show(list(values))}"
                yield Problem(path=here, text=text, related=(("parameters", name, "when"),))


def _equal(one: Mapping[str, Value], other: Mapping[str, Value]) -> bool:
    return one.keys() == other.keys() and all(same(value, other[name]) for name, value in one.items())
