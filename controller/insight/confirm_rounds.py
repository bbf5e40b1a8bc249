"""Successive elimination: which repeats are to run next, as a function of what repeats have given so far.

Round r runs repeat r of each configuration that is still compared. When all of a round have ended, those are
dropped that are clearly worse: what comes next follows from results alone, not from who asks or when.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

FIRST = 2
"""Repeats of each before any is dropped: the least from which a spread follows."""


@dataclass(frozen=True, kw_only=True)
class Repeat:
    """One that has ended."""

    scores: tuple[float, ...] | None
    """By objective, greater is better; None where it has failed."""


@dataclass(frozen=True, kw_only=True)
class Dropped:
    """Why a configuration gets no more repeats."""

    after: int
    """Repeats of each, when it was dropped."""
    by: int | None
    """Number of the configuration that is better; None where its repeats fail."""
    p: float
    """How likely it would seem so much worse by chance; 0 where its repeats fail."""


@dataclass(frozen=True, kw_only=True)
class Standing:
    """Where it stands."""

    wanted: tuple[tuple[int, int], ...] = ()
    """(configuration, repeat) to run, or running; empty once all is done."""
    dropped: Mapping[int, Dropped] = field(default_factory=dict)
    """By configuration."""
    least: int = 0
    """Repeats to come at least, those that run included."""
    most: int = 0
    """Repeats to come at most."""


def standing(repeats: Sequence[Mapping[int, Repeat]], seeds: int) -> Standing:
    """What is to run next, and what has been dropped.

    Args:
        repeats: for each configuration, number of the repeat → how it has ended.
        seeds: repeats of each, at most.
    """
    dropped: dict[int, Dropped] = {}
    for done in range(min(FIRST, seeds), seeds + 1):
        going = [number for number in range(len(repeats)) if number not in dropped]
        wanted = tuple(
            (number, repeat) for repeat in range(done) for number in going if repeat not in repeats[number]
        )
        if wanted:
            most = len(wanted) + len(going) * (seeds - done)
            return Standing(wanted=wanted, dropped=dropped, least=len(wanted), most=most)
        if done < seeds and len(going) > 1:
            dropped.update(_worse(repeats, going, done, looks=max(1, seeds - FIRST)))
    return Standing(dropped=dropped)


def _worse(
    repeats: Sequence[Mapping[int, Repeat]], going: Sequence[int], done: int, *, looks: int
) -> dict[int, Dropped]:
    """Those of the configurations still compared that are to be dropped after so many repeats."""
    from controller.insight.confirm_statistics import clearly_worse  # noqa: PLC0415 - scipy

    scores = {number: scores_of(repeats[number], done) for number in going}
    failing = [number for number in going if 2 * len(scores[number]) < done]
    found = {number: Dropped(after=done, by=None, p=0.0) for number in failing}
    rest = [number for number in going if number not in found]
    if len(rest) > 1:
        objectives = len(scores[rest[0]][0])
        columns = [[[one[index] for one in scores[number]] for number in rest] for index in range(objectives)]
        for number, beaten in zip(rest, clearly_worse(columns, looks), strict=True):
            if beaten is not None:
                found[number] = Dropped(after=done, by=rest[beaten[0]], p=beaten[1])
    return found


def scores_of(repeats: Mapping[int, Repeat], done: int | None = None) -> list[tuple[float, ...]]:
    """The scores of a configuration's repeats, by number, less those that have failed.

    Args:
        done: only of the first so many.
    """
    return [
        one.scores
        for number, one in sorted(repeats.items())
        if one.scores is not None and (done is None or number < done)
    ]
