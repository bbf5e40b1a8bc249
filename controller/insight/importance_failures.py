"""Failures that are concentrated on some values: which, and how sure that is."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

from scipy.stats import fisher_exact

from controller.results.parameters import as_written
from controller.results.space import shown
from controller.results.study_data import StudyData
from worker.protocol import Reason, Status, TaskRecord
from worker.protocol.printable import one_line

FEWEST = 3
"""Failures of a kind before anything is said of them."""
SURE = 0.01
"""How likely chance may at most be to put so many failures there, for all that was looked at together."""
MOST_VALUES = 50
"""Values of a parameter that are looked at one by one; of more, its range is."""
CUTS = 9
"""Where a range is cut: at each tenth of what was tried."""
THE_MACHINES = (Reason.WORKER_LOST, Reason.DISK_FULL, Reason.STORE_AWAY, Reason.MACHINE_FAULT)
"""Failures that no value is to blame for."""


@dataclass(frozen=True, kw_only=True)
class Concentrated:
    """Failures of one kind that have something in common."""

    parameter: str
    """The first of those named."""
    text: str
    failures: int
    """With these values."""
    of: int
    """Failures of this kind."""
    tried: int
    """Trials with these values."""


@dataclass(frozen=True, kw_only=True)
class _Part:
    """Trials with some values."""

    parameter: str
    words: str
    places: frozenset[int]
    is_pair: bool = False


def failure_advice(data: StudyData) -> list[Concentrated]:
    """What failures of each kind have in common, the most frequent kind first; not what may be chance."""
    ended = [task.record for task in data.tasks if task.record.status.is_finished]
    ended = [record for record in ended if record.reason_class not in THE_MACHINES]
    rows = [as_written(record, everything=False) for record in ended]
    kinds = Counter(_kind(record) for record in ended if record.status is Status.FAILED)
    parts = list(_parts(rows)) if kinds else []
    found = []
    for kind, count in kinds.most_common():
        if count < FEWEST:
            continue
        failed = frozenset(place for place, record in enumerate(ended) if _kind(record) == kind)
        best = _most_telling(parts, failed, len(rows))
        if best is not None:
            found.append(_told(best, failed, ended))
    return found


def _kind(record: TaskRecord) -> str:
    return record.reason_class.value if record.status is Status.FAILED and record.reason_class else ""


def _parts(rows: Sequence[Mapping[str, Any]]) -> Iterator[_Part]:
    """Each value of each parameter, the ranges below and above some values, and pairs of values."""
    single: list[_Part] = []
    for name in dict.fromkeys(name for row in rows for name in row):
        places: dict[str, set[int]] = {}
        for place, row in enumerate(rows):
            if name in row:
                places.setdefault(shown(row[name]), set()).add(place)
        if len(places) <= MOST_VALUES:
            single += [
                _Part(parameter=name, words=f"`{name} = {text}`", places=frozenset(members))
                for text, members in places.items()
            ]
        yield from _ranges(name, rows)
    yield from single
    few = [part for part in single if len(part.places) >= FEWEST]
    for one, other in combinations(few[:MOST_VALUES], 2):
        both = one.places & other.places
        if one.parameter != other.parameter and len(both) >= FEWEST:
            words = f"{one.words} and {other.words}"
            yield _Part(parameter=one.parameter, words=words, places=both, is_pair=True)


def _ranges(name: str, rows: Sequence[Mapping[str, Any]]) -> Iterator[_Part]:
    """A parameter's values up to, and from, each tenth of what was tried; only of numbers."""
    values = {place: row[name] for place, row in enumerate(rows) if name in row}
    if not all(isinstance(value, (int, float)) and not isinstance(value, bool) for value in values.values()):
        return
    order = sorted(set(values.values()))
    if len(order) < 3:
        return
    cuts = dict.fromkeys(order[(len(order) * tenth) // (CUTS + 1)] for tenth in range(1, CUTS + 1))
    for cut in cuts:
        above = frozenset(place for place, value in values.items() if value >= cut)
        yield _Part(parameter=name, words=f"`{name}` of {_number(cut)} or more", places=above)
        below = frozenset(values) - above
        yield _Part(parameter=name, words=f"`{name}` below {_number(cut)}", places=below)


def _number(value: float) -> str:
    return f"{value:.4g}"


def _most_telling(parts: Sequence[_Part], failed: frozenset[int], trials: int) -> _Part | None:
    """The part that failures are most concentrated on, for all that chance may do in so many parts."""
    best: tuple[float, bool, _Part] | None = None
    for part in parts:
        inside = len(part.places & failed)
        if inside < FEWEST or 2 * inside < len(failed):
            continue
        counts = [
            [inside, len(part.places) - inside],
            [len(failed) - inside, trials - len(part.places) - len(failed) + inside],
        ]
        chance = float(fisher_exact(counts, alternative="greater")[1]) * len(parts)
        # Of two that are alike, the simpler one.
        found = (chance, part.is_pair, part)
        if chance < SURE and (best is None or found[:2] < best[:2]):
            best = found
    return best[2] if best else None


def _told(part: _Part, failed: frozenset[int], ended: Sequence[TaskRecord]) -> Concentrated:
    inside = failed & part.places
    example = ended[max(inside)]
    kind = (example.reason_class or Reason.OBJECTIVE_ERROR).value.replace("_", " ")
    how = f"{len(inside)} of {len(failed)}" if len(inside) < len(failed) else f"all {len(failed)}"
    others = len(part.places) - len(inside)
    more = f"as {others} of the other trials do" if others else "which no other trial has"
    text = f"{how} failures by {kind} have {part.words}, {more}: {one_line(example.reason, 160)}"
    return Concentrated(
        parameter=part.parameter,
        text=text,
        failures=len(inside),
        of=len(failed),
        tried=len(part.places),
    )
