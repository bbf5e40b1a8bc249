"""What differs between two tasks: parameters, code, surroundings as far as recorded, results, curves."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from controller.results.comparing import Comparison, Line, side_by_side
from controller.results.curves import Curve, read_curves
from worker.protocol import ObjectiveMetric, Store, TaskRecord
from worker.protocol.errors import BadInput
from worker.protocol.surroundings import Difference, Surroundings, differences


@dataclass(frozen=True, kw_only=True)
class Apart:
    """How the curves of one metric lie to each other, where both tasks have reported it."""

    metric: str
    common: int
    """Iterations that both have (of curves with very many points: that both have kept)."""
    parts_at: int | None
    """The first of them at which the values differ; None where none do."""
    widest_at: int | None
    """The one at which they differ most."""
    widest: tuple[float, float] | None
    """The values there."""
    last_at: int | None
    """The last of them."""
    last: tuple[float, float] | None

    def said(self) -> str:
        if self.last is None:
            return "no iteration is in both"
        if self.widest is None:
            return f"the same at each of {self.common} common iterations"
        return (
            f"apart from iteration {self.parts_at} on, most at {self.widest_at} ({_pair(self.widest)}), "
            f"{_pair(self.last)} at {self.last_at}, the last in both"
        )


@dataclass(frozen=True, kw_only=True)
class TaskDiff:
    """Two tasks beside each other."""

    compared: Comparison
    code: tuple[Line, ...]
    """What is run: objective, the study's own code, arguments, environment."""
    surroundings: tuple[Difference, ...] | None
    """What differs of them; None where they aren't known of both."""
    unknown: str
    """Why not; empty where they are known."""
    curves: tuple[Apart, ...]

    @property
    def is_same(self) -> bool:
        """Whether nothing that makes a result differs, as far as that is known."""
        return not self.compared.differing and not self.code_that_differs and self.surroundings == ()

    @property
    def code_that_differs(self) -> list[Line]:
        return [line for line in self.code if line.differs]

    def rows(self) -> list[dict[str, Any]]:
        """A table for people: only what differs."""
        parts: list[tuple[str, Sequence[Line]]] = [
            ("parameter", self.compared.differing),
            ("code", self.code_that_differs),
            ("result", [line for line in self.compared.metrics if line.differs]),
            ("fact", [line for line in self.compared.facts if line.differs]),
        ]
        rows = [
            {"kind": kind, "what": line.name, "A": _shown(line.values[0]), "B": _shown(line.values[1])}
            for kind, lines in parts
            for line in lines
        ]
        rows += [
            {"kind": "surroundings", "what": one.what, "A": one.before, "B": one.after}
            for one in self.surroundings or ()
        ]
        return rows

    def as_dict(self) -> dict[str, Any]:
        """As JSON types."""
        return {
            **self.compared.plain(),
            "studies": [record.study for record in self.compared.tasks],
            "code_that_differs": {line.name: list(line.values) for line in self.code_that_differs},
            "surroundings_that_differ": (
                None if self.surroundings is None else [one.as_dict() for one in self.surroundings]
            ),
            "surroundings_unknown": self.unknown,
            "curves": [asdict(one) for one in self.curves],
        }


def _pair(values: tuple[float, float]) -> str:
    return f"{values[0]:.6g} and {values[1]:.6g}"


def _shown(value: Any) -> Any:
    if value is None or isinstance(value, (str, int, float)):
        return value
    return json.dumps(value, ensure_ascii=False)


def diff_tasks(store: Store, first: str, second: str) -> TaskDiff:
    """What differs between two tasks, of the same study or of others.

    Raises:
        BadInput: they are one task, or there is no such task.
    """
    if first == second:
        raise BadInput(f"diff: both are task {first[:12]}; name two")
    records = [store.tasks.get(task_id) for task_id in (first, second)]
    objectives: dict[str, ObjectiveMetric] = {}
    for record in records:
        for metric in record.spec.metrics:
            objectives.setdefault(metric.key, metric)
    ids = [record.id for record in records]
    compared = side_by_side(records, store.reports.scalars(ids), list(objectives.values()))
    known = [store.surroundings.of_task(record) for record in records]
    surroundings, unknown = _surroundings(records, known)
    curves = read_curves(store, ids)
    return TaskDiff(
        compared=compared,
        code=tuple(_code(records)),
        surroundings=surroundings,
        unknown=unknown,
        curves=tuple(_curves(curves.get(first, {}), curves.get(second, {}), compared.metric_keys)),
    )


def _surroundings(
    records: Sequence[TaskRecord], known: Sequence[Surroundings | None]
) -> tuple[tuple[Difference, ...] | None, str]:
    before, after = known
    if before is None or after is None:
        lacking = [record.id[:8] for record, found in zip(records, known, strict=True) if found is None]
        return None, f"the surroundings of {' and '.join(lacking)} are not known: nothing has recorded them"
    own_code = all(record.spec.code for record in records)
    return tuple(differences(before, after, code=not own_code)), ""


def _code(records: Sequence[TaskRecord]) -> Iterator[Line]:
    specs = [record.spec for record in records]
    objectives = [spec.objective for spec in specs]
    for name in dict.fromkeys(name for found in objectives for name in found):
        yield Line(name=f"objective.{name}", values=tuple(found.get(name) for found in objectives))
    yield Line(name="code", values=tuple(str(spec.code.get("sha256", ""))[:12] or None for spec in specs))
    yield Line(name="max_iterations", values=tuple(spec.max_iterations for spec in specs))
    for name in dict.fromkeys(name for spec in specs for name in spec.configurations):
        yield Line(
            name=f"configuration {name}", values=tuple(spec.configurations.get(name) for spec in specs)
        )


def _curves(first: Mapping[str, Curve], second: Mapping[str, Curve], keys: Sequence[str]) -> Iterator[Apart]:
    for key in keys:
        if key in first and key in second:
            yield _apart(key, first[key], second[key])


def _apart(metric: str, first: Curve, second: Curve) -> Apart:
    theirs = dict(zip(second.iterations, second.values, strict=True))
    both = [
        (iteration, value, theirs[iteration])
        for iteration, value in zip(first.iterations, first.values, strict=True)
        if iteration in theirs and math.isfinite(value) and math.isfinite(theirs[iteration])
    ]
    differing = [one for one in both if one[1] != one[2]]
    widest = max(differing, key=lambda one: abs(one[1] - one[2]), default=None)
    last = both[-1] if both else None
    return Apart(
        metric=metric,
        common=len(both),
        parts_at=differing[0][0] if differing else None,
        widest_at=widest[0] if widest else None,
        widest=widest[1:] if widest else None,
        last_at=last[0] if last else None,
        last=last[1:] if last else None,
    )
