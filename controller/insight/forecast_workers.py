"""How many slots a study needs to end by a certain time."""

from __future__ import annotations

import datetime
from dataclasses import asdict, dataclass, replace
from typing import Any

from controller.insight.forecast import SURE, why_not
from controller.insight.forecast_reading import read_situation
from controller.insight.forecast_run import Situation, outcomes
from controller.results.durations import spoken
from controller.results.status import ENDED
from controller.sweep import parse_duration
from worker.protocol import Store
from worker.protocol.clock import iso
from worker.protocol.errors import BadInput

MOST_SLOTS = 4096
"""That are thought of."""


@dataclass(frozen=True, kw_only=True)
class Suggestion:
    """How many slots a study needs, or why no number of them suffices."""

    study: str
    by: float
    """Seconds since the epoch."""
    slots_now: int
    slots: int | None
    """The fewest with which it ends in time in `sure` of the cases; None where none are enough."""
    sure: float
    """The share of the simulations that end in time with them, or with as many as help."""
    text: str

    def as_dict(self) -> dict[str, Any]:
        return {**asdict(self), "by": iso(self.by)}


def deadline(text: str, now: float) -> float:
    """A moment that a person names: ``18:00`` (the next one), ``3h`` from now, or a date with a time.

    Raises:
        BadInput: it is none of these, or has passed.
    """
    here = datetime.datetime.fromtimestamp(now).astimezone()
    try:
        clock = datetime.time.fromisoformat(text)
    except ValueError:
        clock = None
    if clock is not None and ":" in text:
        moment = datetime.datetime.combine(here.date(), clock).astimezone(clock.tzinfo)
        if moment.timestamp() <= now:
            moment = datetime.datetime.combine(here.date() + datetime.timedelta(days=1), clock).astimezone(
                clock.tzinfo
            )
        return moment.timestamp()
    try:
        at = datetime.datetime.fromisoformat(text).timestamp()
    except (ValueError, OverflowError, OSError):
        try:
            at = now + parse_duration(text)
        except BadInput as error:
            raise BadInput(f'--by {text!r}: wants "18:00", "3h" or "2026-05-01 18:00"') from error
    if at <= now:
        raise BadInput(f"--by {text!r}: has passed")
    return at


def suggest(store: Store, name: str, by: float) -> Suggestion:
    """The fewest slots with which a study ends in time.

    Raises:
        BadInput: there is no such study, it has ended, or too little is known of its trials.
    """
    study = store.studies.get(name)
    if study.state in ENDED:
        raise BadInput(f"study {name!r} has ended: it is {study.state}")
    situation, _ = read_situation(store, study)
    return suggestion(name, situation, by, store.clock.now())


def suggestion(name: str, situation: Situation, by: float, now: float) -> Suggestion:
    """As `suggest`, of a situation at the moment `now`."""
    limits = situation.limits
    most = min(MOST_SLOTS, limits.concurrent or MOST_SLOTS)

    def share(slots: int) -> float:
        found = outcomes(replace(situation, slots=slots, queued=situation.queued))
        if not found:
            raise BadInput(f"study {name!r}: not known: {why_not(situation)}")
        return sum(one.seconds <= by - now for one in found) / len(found)

    def told(slots: int | None, sure: float, text: str) -> Suggestion:
        return Suggestion(
            study=name, by=by, slots_now=situation.slots, slots=slots, sure=sure, text=f"study {name}: {text}"
        )

    left = spoken(by - now)
    sure = share(most)
    if sure < SURE:
        why = f"max_concurrent is {most}" if limits.concurrent else "trials can't be split"
        return told(
            None,
            sure,
            f"no number of slots suffices to end within {left}: {most} do in {sure:.0%} of the cases, {why}",
        )
    low, high = 0, 1
    while high < most and share(high) < SURE:
        low, high = high, min(most, high * 2)
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if share(middle) < SURE else (low, middle)
    sure = share(high)
    now_words = f"{situation.slots} run it now"
    slots = f"{high} slot{'' if high == 1 else 's'}"
    return told(high, sure, f"{slots} to end within {left}, in {sure:.0%} of the cases; {now_words}")
