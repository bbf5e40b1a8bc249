"""Two searches beside each other: the best so far over trials and over cost, and which was better."""

from __future__ import annotations

import math
import statistics
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import lru_cache
from typing import Any

from controller.insight.words import p_text
from controller.results.course import counts
from controller.results.durations import brief
from controller.results.study_data import StudyData
from worker.protocol import ObjectiveMetric
from worker.protocol.errors import BadInput

CONFIDENCE = 0.95
SIDES = ("A", "B")
LEAST = 4
"""Studies on each side from which on a rank test can tell them apart: of fewer, none can be so unlike."""
MARKS, FINE = 10, 60
"""Moments of cost that a table has; those that a curve has."""


@dataclass(frozen=True, kw_only=True)
class Run:
    """One study: what its best was after each trial that ended, and what that had cost."""

    study: str
    best: tuple[float | None, ...]
    """After the first trial, the second, …; None before there is a result."""
    cost_s: tuple[float, ...]
    """Seconds that the trials until then have computed."""

    def after(self, trials: int) -> float | None:
        return self.best[trials - 1] if 0 < trials <= len(self.best) else None

    def at_cost(self, seconds: float) -> float | None:
        return self.after(bisect_right(self.cost_s, seconds))


@dataclass(frozen=True, kw_only=True)
class Spread:
    """The best of the studies of one side at one moment."""

    mean: float
    low: float | None
    """Of the interval in which the mean of many such studies lies with 95 %; None for a single study."""
    high: float | None
    studies: int

    def said(self) -> str:
        if self.low is None or self.high is None:
            return f"{self.mean:.6g}"
        return f"{self.mean:.5g} ({self.low:.3g} to {self.high:.3g})"


@dataclass(frozen=True, kw_only=True)
class Mark:
    """Both sides after as many trials, or at the same cost."""

    at: float
    """Trials, or seconds of computing."""
    sides: tuple[Spread | None, Spread | None]
    """None where a study had no result yet."""


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """Which side was better at the last moment that all studies have."""

    over: str
    """``trials`` or ``cost``."""
    at: float
    better: str | None
    """A or B; None where one can't say."""
    p: float | None
    """Of a Mann-Whitney test; None where the studies are too few for one."""
    text: str


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """Two searches beside each other."""

    objective: str
    maximizes: bool
    sides: tuple[tuple[Run, ...], tuple[Run, ...]]
    over_trials: tuple[Mark, ...]
    over_cost: tuple[Mark, ...]
    verdicts: tuple[Verdict, ...]
    settings: Mapping[str, tuple[Any, Any]]
    """Setting of the sweep file that differs between the first studies → what A and B have."""
    notes: tuple[str, ...] = ()

    def rows(self, over: str) -> list[dict[str, str]]:
        """A table for people, over ``trials`` or ``cost``."""
        if over == "trials":
            wanted = set(_round(len(self.over_trials) and int(self.over_trials[-1].at)))
            marks = [mark for mark in self.over_trials if mark.at in wanted]
        else:
            marks = [mark for mark in self.over_cost[FINE // MARKS - 1 :: FINE // MARKS] if any(mark.sides)]
        return [
            {
                over: f"{mark.at:g}" if over == "trials" else brief(mark.at),
                **{
                    name: "" if spread is None else spread.said()
                    for name, spread in zip(SIDES, mark.sides, strict=True)
                },
            }
            for mark in marks
        ]

    def side_rows(self) -> list[dict[str, Any]]:
        """The studies of both sides, for people."""
        return [
            {
                "side": name,
                "study": run.study,
                "trials": len(run.best),
                "cost": brief(run.cost_s[-1]) if run.cost_s else "",
                "best": run.best[-1] if run.best else None,
            }
            for name, runs in zip(SIDES, self.sides, strict=True)
            for run in runs
        ]

    def as_dict(self) -> dict[str, Any]:
        """As JSON types."""

        def marks(found: Sequence[Mark], unit: str) -> list[dict[str, Any]]:
            return [
                {
                    unit: mark.at,
                    **{
                        name: None if spread is None else asdict(spread)
                        for name, spread in zip(SIDES, mark.sides, strict=True)
                    },
                }
                for mark in found
            ]

        return {
            "objective": self.objective,
            "goal": "maximize" if self.maximizes else "minimize",
            "studies": [
                {**row, "cost_s": run.cost_s[-1] if run.cost_s else 0.0}
                for row, run in zip(self.side_rows(), (*self.sides[0], *self.sides[1]), strict=True)
            ],
            "settings_that_differ": {name: list(values) for name, values in self.settings.items()},
            "over_trials": marks(self.over_trials, "trials"),
            "over_cost": marks(self.over_cost, "cost_s"),
            "verdicts": [asdict(verdict) for verdict in self.verdicts],
            "notes": list(self.notes),
        }


def compare_studies(
    left: Sequence[StudyData], right: Sequence[StudyData], objective: str | None = None
) -> Comparison:
    """Compare the studies of one side with those of another, by one objective.

    Args:
        objective: its key; by default the first.

    Raises:
        BadInput: a study has no such objective, or another goal.
    """
    metric = _objective([*left, *right], objective)
    sides = tuple(_run(data, metric) for data in left), tuple(_run(data, metric) for data in right)
    runs = [*sides[0], *sides[1]]
    trials = min(len(run.best) for run in runs)
    cost = min(run.cost_s[-1] if run.cost_s else 0.0 for run in runs)
    over_trials = tuple(
        Mark(at=at, sides=_spreads(sides, [[run.after(at) for run in side] for side in sides]))
        for at in _marks(trials)
    )
    over_cost = tuple(
        Mark(at=at, sides=_spreads(sides, [[run.at_cost(at) for run in side] for side in sides]))
        for at in (cost * place / FINE for place in range(1, FINE + 1))
        if cost > 0
    )
    return Comparison(
        objective=metric.key,
        maximizes=metric.sign.maximizes,
        sides=sides,
        over_trials=over_trials,
        over_cost=over_cost,
        verdicts=(
            _verdict("trials", trials, [[run.after(trials) for run in side] for side in sides], metric),
            _verdict("cost", cost, [[run.at_cost(cost) for run in side] for side in sides], metric),
        ),
        settings=_settings(left[0], right[0]),
        notes=tuple(_notes(sides, left, right)),
    )


def _objective(studies: Sequence[StudyData], wanted: str | None) -> ObjectiveMetric:
    first = studies[0].objectives[0] if wanted is None else None
    for data in studies:
        keys = {metric.key: metric for metric in data.objectives}
        found = keys.get(first.key if first is not None else str(wanted))
        if found is None:
            name = first.key if first is not None else wanted
            raise BadInput(
                f"study {data.study.name!r} has no objective {name!r}; it has {', '.join(keys)}: "
                "only studies with the same objective can be compared (--objective names another)"
            )
        if first is None:
            first = found
        elif found.sign.maximizes is not first.sign.maximizes:
            raise BadInput(
                f"study {data.study.name!r} has another goal for {found.key!r} than "
                f"{studies[0].study.name!r}: they can't be compared"
            )
    assert first is not None  # there are two studies at least
    return first


def _run(data: StudyData, metric: ObjectiveMetric) -> Run:
    ended = [task for task in data.tasks if counts(task.record)]
    ended.sort(key=lambda task: (task.record.ended_at or task.record.created_at, task.record.trial))
    best: list[float | None] = []
    costs: list[float] = []
    for task in ended:
        value = task.value(metric) if task.ranks else None
        before = best[-1] if best else None
        if value is None or (before is not None and metric.score(before) <= metric.score(value)):
            value = before
        best.append(value)
        costs.append((costs[-1] if costs else 0.0) + max(0.0, task.record.compute_s))
    return Run(study=data.study.name, best=tuple(best), cost_s=tuple(costs))


def _round(trials: int) -> list[int]:
    """Numbers of trials for a table: 1, 2, 5, 10, 20, 50, …, and the last."""
    found = [step * 10**power for power in range(len(str(trials))) for step in (1, 2, 5)]
    return [*(at for at in found if at < trials), *([trials] if trials else [])]


def _marks(trials: int) -> list[int]:
    """Numbers of trials for a curve: all of a few, of many some `FINE` evenly spread by their logarithm."""
    if trials <= FINE:
        return list(range(1, trials + 1))
    spread = (round(trials ** (place / FINE)) for place in range(FINE + 1))
    return sorted({*spread, *_round(trials)})


def _spreads(
    sides: tuple[tuple[Run, ...], ...], values: Sequence[Sequence[float | None]]
) -> tuple[Spread | None, Spread | None]:
    first, second = (_spread(found) for found in values)
    return first, second


@lru_cache
def _quantile(freedom: int) -> float:
    """Of Student's distribution, for an interval that holds the mean with `CONFIDENCE`."""
    from scipy import stats  # noqa: PLC0415 - a second of the page's start

    return float(stats.t.ppf((1 + CONFIDENCE) / 2, freedom))


def _spread(values: Sequence[float | None]) -> Spread | None:
    known = [value for value in values if value is not None]
    if len(known) < len(values):
        return None
    mean = math.fsum(known) / len(known)
    low = high = None
    if len(known) > 1:
        half = _quantile(len(known) - 1) * statistics.stdev(known) / math.sqrt(len(known))
        low, high = mean - half, mean + half
    return Spread(mean=mean, low=low, high=high, studies=len(known))


def _verdict(
    over: str, at: float, values: Sequence[Sequence[float | None]], metric: ObjectiveMetric
) -> Verdict:
    moment = f"after {at:g} trials" if over == "trials" else f"at a cost of {brief(at)} of computing"
    known = [[value for value in side if value is not None] for side in values]
    if at <= 0 or any(len(some) < len(side) for some, side in zip(known, values, strict=True)):
        text = f"nothing can be said over {over}: a study has no result {moment}"
        return Verdict(over=over, at=at, better=None, p=None, text=text)
    scores = [sorted(metric.score(value) for value in side) for side in known]
    means = [math.fsum(side) / len(side) for side in known]
    ahead = _ahead(means, metric)
    shown = f"{moment} A has {means[0]:.6g} and B {means[1]:.6g}"
    counted = f"{len(known[0])} and {len(known[1])} studies"
    if min(map(len, known)) < 2 or not _can_differ(*map(len, known)):
        lead = f"{ahead} is ahead" if ahead else "they are even"
        text = (
            f"{shown}: {lead}, but {counted} can't tell luck from a better search; it takes {LEAST} on each "
            "side, with other seeds"
        )
        return Verdict(over=over, at=at, better=None, p=None, text=text)
    from scipy import stats  # noqa: PLC0415 - the same

    p = float(stats.mannwhitneyu(scores[0], scores[1], alternative="two-sided").pvalue)
    if not ahead or p > 1 - CONFIDENCE:
        text = f"{shown}: {counted} don't tell which search is better ({p_text(p)}, Mann-Whitney)"
        return Verdict(over=over, at=at, better=None, p=p, text=text)
    text = f"{shown}: {ahead} is the better search ({p_text(p)}, Mann-Whitney over {counted})"
    return Verdict(over=over, at=at, better=ahead, p=p, text=text)


def _ahead(means: Sequence[float], metric: ObjectiveMetric) -> str:
    first, second = (metric.score(mean) for mean in means)
    return "" if first == second else SIDES[0] if first < second else SIDES[1]


def _can_differ(first: int, second: int) -> bool:
    """Whether a rank test of so many studies can be significant at all: where none of A equals one of B."""
    return 2 / math.comb(first + second, first) <= 1 - CONFIDENCE


_OWN = ("study.name", "study.seed", "sampler.seed")
"""Settings that differ between studies of the same search."""


def _settings(left: StudyData, right: StudyData) -> dict[str, tuple[Any, Any]]:
    first, second = (_flat(data.study.sweep) for data in (left, right))
    names = [name for name in dict.fromkeys([*first, *second]) if name not in _OWN]
    return {
        name: (first.get(name), second.get(name)) for name in names if first.get(name) != second.get(name)
    }


def _flat(table: Mapping[str, Any], above: str = "") -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in table.items():
        if isinstance(value, Mapping) and value:
            found.update(_flat(value, f"{above}{name}."))
        else:
            found[f"{above}{name}"] = value
    return found


def _notes(
    sides: tuple[tuple[Run, ...], tuple[Run, ...]], left: Sequence[StudyData], right: Sequence[StudyData]
) -> list[str]:
    notes = [
        f"{data.left_out} of the trials of study {data.study.name!r} are left out: it is too large"
        for data in (*left, *right)
        if data.left_out
    ]
    twice = {run.study for run in sides[0]} & {run.study for run in sides[1]}
    if twice:
        notes.append(f"on both sides: {', '.join(sorted(twice))}")
    if any(name.startswith("parameters.") for name in _settings(left[0], right[0])):
        notes.append("the search spaces differ: what is better may lie in the space, not in the search")
    if any(len(data.objectives) > 1 for data in (*left, *right)):
        notes.append("of several objectives, one is compared by itself; --objective names another")
    return notes
