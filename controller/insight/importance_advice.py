"""What follows from what matters, in words and as values: widen, narrow, fix; keep away from failures."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from scipy.stats import binomtest

from controller.insight.importance import BOOTSTRAPS, Importance, Matter, importance_in
from controller.insight.importance_failures import failure_advice
from controller.insight.importance_sample import Sample, Searched, sample_of
from controller.results.parameters import shown
from controller.results.space import Space
from controller.results.space import shown as exactly
from controller.results.study_data import StudyData

EDGE = 0.1
"""How much of a range its edge is."""
SURE = 0.01
"""How likely chance may at most be to put so many of the best there."""
NARROW_TO = 0.7
"""A range is narrowed where the best lie in no more of it than so much."""
MARGIN = 0.1
"""Of a range, what is left beyond the best on each side when it is narrowed."""
FEWEST_OF_A_CHOICE = 5
"""Trials with a choice before it is advised against."""


@dataclass(frozen=True, kw_only=True)
class Advice:
    """One thing to change."""

    kind: str
    """``widen``, ``narrow``, ``fix``, ``pair`` or ``failures``."""
    parameter: str
    text: str
    """In words."""
    low: float | None = None
    """New bounds of a range, for ``widen`` and ``narrow``."""
    high: float | None = None
    values: tuple[Any, ...] = ()
    """What it is to be chosen from: one value for ``fix``."""


@dataclass(frozen=True, kw_only=True)
class Advised:
    """What matters for one objective, and what follows."""

    importance: Importance
    advice: tuple[Advice, ...]

    def as_dict(self) -> dict[str, Any]:
        return {**self.importance.as_dict(), "advice": [asdict(one) for one in self.advice]}


def advise(data: StudyData, objective: int = 0, *, bootstraps: int = BOOTSTRAPS) -> Advised:
    """What matters in a study, and what follows.

    Raises:
        BadInput: too few trials have a result, or nothing differs; says how many it would take.
    """
    return advise_in(sample_of(data, objective), bootstraps=bootstraps)


def advise_in(sample: Sample, *, bootstraps: int = BOOTSTRAPS) -> Advised:
    """As `advise`, of a sample."""
    importance = importance_in(sample, bootstraps=bootstraps)
    found: list[Advice] = []
    for one in sample.parameters:
        matter = importance.of(one.name)
        if matter is not None:
            found += _of_parameter(sample, one, matter)
    order = {"widen": 0, "narrow": 1, "fix": 2}
    found.sort(key=lambda advice: order[advice.kind])
    pairs = [
        Advice(
            kind="pair",
            parameter=pair.names[0],
            text=f"`{pair.names[0]}` and `{pair.names[1]}` have to fit each other: together they explain "
            f"{pair.explains.text} beyond what each does: change them together",
        )
        for pair in importance.pairs
    ]
    failures = [
        Advice(kind="failures", parameter=one.parameter, text=one.text) for one in failure_advice(sample.data)
    ]
    return Advised(importance=importance, advice=(*found, *pairs, *failures))


def _of_parameter(sample: Sample, one: Searched, matter: Matter) -> list[Advice]:
    best = [place for place in sample.best if one.name in sample.rows[place]]
    if matter.matters == "no":
        return _fix(sample, one, matter, best)
    if matter.matters != "yes" or len(best) < 5:
        return []
    if one.dimension.categories:
        return _choices(sample, one, best)
    space = one.space
    if space is None or space.low is None or space.high is None or space.low >= space.high:
        return []
    return _range(sample, one, space, best)


def _fix(sample: Sample, one: Searched, matter: Matter, best: Sequence[int]) -> list[Advice]:
    if not best:
        return []
    value = sample.rows[best[0]][one.name]
    where = f" where {matter.where}" if matter.where else ""
    return [
        Advice(
            kind="fix",
            parameter=one.name,
            text=f"`{one.name}` doesn't matter{where} ({matter.chance:.0%} of studies with shuffled results "
            f"give it as much): fix it, such as at `{shown(value)}`, which the best trial has",
            values=(value,),
        )
    ]


def _choices(sample: Sample, one: Searched, best: Sequence[int]) -> list[Advice]:
    space = one.space
    if space is None or space.kind != "choices":
        return []
    used = Counter(exactly(sample.rows[place][one.name]) for place in best)
    tried = Counter(exactly(row[one.name]) for row in sample.rows if one.name in row)
    kept = [
        value for value in space.choices if used[exactly(value)] or tried[exactly(value)] < FEWEST_OF_A_CHOICE
    ]
    if len(kept) == len(space.choices) or not used:
        return []
    named = ", ".join(f"`{exactly(value)}`" for value in space.choices if used[exactly(value)])
    left = len(space.choices) - len(kept)
    return [
        Advice(
            kind="narrow",
            parameter=one.name,
            text=f"of `{one.name}`, the best {len(best)} trials have {named} only: leave out {left} of its "
            f"{len(space.choices)} choices",
            values=tuple(kept),
        )
    ]


def _range(sample: Sample, one: Searched, space: Space, best: Sequence[int]) -> list[Advice]:
    values = [float(sample.rows[place][one.name]) for place in best]
    places = [space.place(value) for value in values]
    known = [place for place in places if place is not None]
    if len(known) < len(best):
        return []
    for upper in (True, False):
        found = _at_the_edge(one, space, known, upper=upper)
        if found is not None:
            return [found]
    low, high = min(known) - MARGIN, max(known) + MARGIN
    if min(1.0, high) - max(0.0, low) > NARROW_TO:
        return []
    ends = [value_at(space, max(0.0, low), down=True), value_at(space, min(1.0, high), down=False)]
    if ends[0] <= space.low and ends[1] >= space.high:  # type: ignore[operator] # a range has both
        return []
    return [
        Advice(
            kind="narrow",
            parameter=one.name,
            text=f"the best {len(best)} trials have `{one.name}` from {shown(min(values))} to "
            f"{shown(max(values))}: narrow it, to {shown(ends[0])} to {shown(ends[1])}",
            low=ends[0],
            high=ends[1],
        )
    ]


def _at_the_edge(one: Searched, space: Space, places: Sequence[float], *, upper: bool) -> Advice | None:
    """Advice to widen a range, where more of the best lie at one of its edges than chance puts there."""
    count = steps_of(space)
    if count is not None and count < 3:
        return None
    edge = EDGE if count is None else max(EDGE, 1 / count)
    there = sum(place >= 1 - EDGE if upper else place <= EDGE for place in places)
    if there * 2 < len(places) or binomtest(there, len(places), edge, alternative="greater").pvalue >= SURE:
        return None
    low, high = widened(space, upper=upper)
    new = high if upper else low
    if new == (space.high if upper else space.low):
        return None
    return Advice(
        kind="widen",
        parameter=one.name,
        text=f"{there} of the best {len(places)} trials lie at the {'upper' if upper else 'lower'} edge of "
        f"`{one.name}` ({space.text}): widen it, to {shown(new)}",
        low=low,
        high=high,
    )


# Ranges


def steps_of(space: Space) -> int | None:
    """How many values a range has; None for any number."""
    if space.low is None or space.high is None:
        return None
    step = space.step if space.step is not None else (1 if space.kind == "int" else None)
    return None if step is None else round((space.high - space.low) / step) + 1


def value_at(space: Space, place: float, *, down: bool) -> float:
    """The value at a place from 0 to 1 of a range, rounded outwards to two digits, within the range.

    Args:
        down: round it down, not up.
    """
    low, high = float(space.low or 0.0), float(space.high or 0.0)
    if space.log:
        value = math.exp(math.log(low) + place * (math.log(high) - math.log(low)))
    else:
        value = low + place * (high - low)
    return _on_grid(space, min(high, max(low, _rounded(value, down=down))), down=down)


def widened(space: Space, *, upper: bool) -> tuple[float, float]:
    """A range with half as much again beyond one end. What is a count or a fraction stays one: whole numbers
    stay above 0 and others on their side of it, and what ends at 1 or below doesn't pass it."""
    low, high = float(space.low or 0.0), float(space.high or 0.0)
    if space.log:
        factor = math.sqrt(high / low)
        ends = (
            (low, _rounded(high * factor, down=False)) if upper else (_rounded(low / factor, down=True), high)
        )
    else:
        half = (high - low) / 2
        ends = (low, _rounded(high + half, down=False)) if upper else (_rounded(low - half, down=True), high)
    if not upper and low >= 0:
        least = 1.0 if space.kind == "int" and low >= 1 else 0.0
        ends = (max(ends[0], least), high)
    if upper and not space.log and space.kind == "float" and 0 <= low < high <= 1:
        ends = (low, min(1.0, ends[1]))
    return _on_grid(space, ends[0], down=True), _on_grid(space, ends[1], down=False)


def _on_grid(space: Space, value: float, *, down: bool) -> float:
    """The nearest value that a range with steps has, outwards; whole numbers as such."""
    low = float(space.low or 0.0)
    step = space.step if space.step is not None else (1 if space.kind == "int" else None)
    if step is not None and not space.log:
        count = (value - low) / step
        value = low + step * (math.floor(count + 1e-9) if down else math.ceil(count - 1e-9))
    if space.kind == "int":
        return int(math.floor(value + 1e-9) if down else math.ceil(value - 1e-9))
    return value


def _rounded(value: float, *, down: bool) -> float:
    """Two digits of a number."""
    if not value or not math.isfinite(value):
        return value
    unit = 10.0 ** (math.floor(math.log10(abs(value))) - 1)
    count = value / unit
    found = (math.floor(count + 1e-9) if down else math.ceil(count - 1e-9)) * unit
    return float(f"{found:.2g}")


def by_parameter(advice: Sequence[Advice]) -> Mapping[str, Advice]:
    """Parameter → what is to be changed of its range."""
    return {one.parameter: one for one in advice if one.kind in ("widen", "narrow", "fix")}
