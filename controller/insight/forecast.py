"""When a study ends and what it costs, as values: simulated from what it and its trials have done so far."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from typing import TYPE_CHECKING, Any

from controller.results.durations import spoken
from worker.protocol.clock import iso

if TYPE_CHECKING:
    from controller.insight.forecast_run import Outcome, Situation

SURE = 0.8
"""The share of ends that an interval is to hold."""
_KINDS = {
    "all ": "trials",
    "iteration budget": "iterations",
    "wall-clock": "wall clock",
    "compute-time": "compute time",
    "it would": "nothing",
}


@dataclass(frozen=True, kw_only=True)
class Range:
    """The middle of what may be, and an interval that holds the truth in four of five cases."""

    low: float
    median: float
    high: float

    def times(self, factor: float, plus: float = 0.0) -> Range:
        """Each multiplied, after `plus` was added."""
        return Range(
            low=(self.low + plus) * factor,
            median=(self.median + plus) * factor,
            high=(self.high + plus) * factor,
        )

    def said(self, words: Callable[[float], str]) -> str:
        """As ``2 h (1 h 50 min to 2 h 20 min)``."""
        return f"{words(self.median)} ({words(self.low)} to {words(self.high)})"


@dataclass(frozen=True, kw_only=True)
class Prices:
    """What resources cost; None for what has no price, or isn't known."""

    gpu_hour: float | None = None
    cpu_hour: float | None = None
    slot_hour: float | None = None
    gpus: float | None = None
    """Of one trial."""
    cpus: float | None = None
    currency: str = ""

    @classmethod
    def of_sweep(cls, sweep: Mapping[str, Any], gpus: float | None = None) -> Prices:
        """The prices in a sweep, as a study's record has it.

        Args:
            gpus: of one trial, as workers have shown, for a sweep that doesn't say.
        """
        cost = sweep.get("cost") or {}
        known = {each.name for each in fields(cls)}
        return cls(**{"gpus": gpus, **{name: value for name, value in cost.items() if name in known}})


@dataclass(frozen=True, kw_only=True)
class Forecast:
    """How a study will end. Ranges are None where `unknown` says why; times are in seconds."""

    study: str
    at: float
    """When it was made, seconds since the epoch."""
    left_s: Range | None = None
    trials: Range | None = None
    """In all."""
    slot_hours: Range | None = None
    """Of all trials, those that have ended included."""
    gpu_hours: Range | None = None
    cpu_hours: Range | None = None
    money: Range | None = None
    currency: str = ""
    ends_by: Mapping[str, float] | None = None
    """What ends it → in which share of the simulations."""
    slots: int = 0
    rests_on: str = ""
    unknown: Sequence[str] = ()

    def as_dict(self) -> dict[str, Any]:
        """As JSON types, with the times of the end."""
        ends = None
        if self.left_s is not None:
            ends = {name: iso(self.at + value) for name, value in asdict(self.left_s).items()}
        found = asdict(self)
        return {**found, "at": iso(self.at), "ends_at": ends, "unknown": list(self.unknown)}

    def kept(self) -> dict[str, Any]:
        """What a study's record keeps of it; see `controller.results.foreseen`."""
        if self.left_s is None:
            return {}
        kept: dict[str, Any] = {"at": self.at, "left_s": asdict(self.left_s)}
        for name in ("trials", "slot_hours", "gpu_hours", "money"):
            value: Range | None = getattr(self, name)
            if value is not None:
                kept[name] = asdict(value)
        return {**kept, "currency": self.currency}

    def rows(self) -> list[dict[str, str]]:
        """For people: a row for each question."""
        if self.left_s is None:
            return []
        rows: list[dict[str, str]] = [
            _row("time left", self.left_s, spoken),
            {"what": "ends at", **self._ends(self.left_s)},
        ]
        numbers = (
            ("trials", self.trials, "{:.0f}"),
            ("slot-hours", self.slot_hours, "{:.4g}"),
            ("GPU-hours", self.gpu_hours, "{:.4g}"),
            ("CPU-hours", self.cpu_hours, "{:.4g}"),
            (f"cost {self.currency}".strip(), self.money, "{:.2f}"),
        )
        return [
            *rows,
            *(_row(name, value, form.format) for name, value, form in numbers if value is not None),
        ]

    def _ends(self, left: Range) -> dict[str, str]:
        return {name: iso(self.at + value) or "" for name, value in _named(left)}

    def reason_text(self) -> str:
        """What ends it, in words; empty where that isn't known."""
        by = sorted((self.ends_by or {}).items(), key=lambda item: -item[1])
        return ", ".join(f"{kind} in {share:.0%}" for kind, share in by)


def _named(value: Range) -> list[tuple[str, float]]:
    return [("expected", value.median), ("from", value.low), ("to", value.high)]


def _row(what: str, value: Range, words: Callable[[float], str]) -> dict[str, str]:
    return {"what": what, **{name: words(number) for name, number in _named(value)}}


def foresee(study: str, at: float, situation: Situation, prices: Prices, rests_on: str) -> Forecast:
    """Simulate the rest of a study.

    Args:
        at: the moment that `situation` is of, seconds since the epoch.
        rests_on: in words, which trials the forecast rests on.
    """
    from controller.insight.forecast_run import outcomes  # noqa: PLC0415 - imports numpy

    known = Forecast(study=study, at=at, slots=situation.at_once, rests_on=rests_on, currency=prices.currency)
    found = outcomes(situation)
    if not found:
        return replace(known, unknown=(why_not(situation),))
    slot_hours = _range([one.compute_s for one in found]).times(1 / 3600, situation.used.compute_s)
    unknown = []
    gpu_hours = cpu_hours = None
    if prices.gpus is not None:
        gpu_hours = slot_hours.times(prices.gpus)
    elif prices.gpu_hour is not None:
        unknown.append("the cost: `[cost] gpus` says how many GPUs a trial has")
    if prices.cpus is not None:
        cpu_hours = slot_hours.times(prices.cpus)
    return replace(
        known,
        left_s=_range([one.seconds for one in found]),
        trials=_range([one.trials for one in found]).times(1, situation.used.trials),
        slot_hours=slot_hours,
        gpu_hours=gpu_hours,
        cpu_hours=cpu_hours,
        money=None if unknown else _money(prices, slot_hours),
        ends_by=_ends_by(found),
        unknown=tuple(unknown),
    )


def _money(prices: Prices, slot_hours: Range) -> Range | None:
    """What a study costs; None without a price."""
    an_hour = [
        price * (1.0 if count is None else count)
        for price, count in (
            (prices.gpu_hour, prices.gpus), (prices.cpu_hour, prices.cpus), (prices.slot_hour, None),
        )
        if price is not None
    ]  # fmt: skip
    return slot_hours.times(sum(an_hour)) if an_hour else None


def _ends_by(found: Sequence[Outcome]) -> dict[str, float]:
    kinds = Counter(
        next((kind for begin, kind in _KINDS.items() if one.reason.startswith(begin)), "failures")
        for one in found
    )
    return {kind: count / len(found) for kind, count in kinds.most_common()}


def why_not(situation: Situation) -> str:
    """What is not known where `outcomes` gives none."""
    if not situation.limits.has_end:
        return "the end: no budget ends the study"
    running, more = len(situation.running), ""
    if running and situation.limits.max_iterations:
        more = f", and of {running} running none has reported twice"
    elif running:
        more = f", and without max_iterations {running} running ones don't say how far they are"
    return f"how long trials take: none has ended yet{more}; the first that ends makes a forecast"


def _range(values: Sequence[float]) -> Range:
    import numpy as np  # noqa: PLC0415 - a tenth of a second

    # Weibull's places: of few simulations, too, the interval holds `SURE` of what comes.
    low, median, high = np.quantile(values, [(1 - SURE) / 2, 0.5, (1 + SURE) / 2], method="weibull")
    return Range(low=float(low), median=float(median), high=float(high))
