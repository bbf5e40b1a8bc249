"""The nearest known name, for a hint to somebody who has misspelt one."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from difflib import SequenceMatcher, get_close_matches


def nearest(
    name: str, known: Iterable[str], cutoff: float = 0.6, present: Collection[str] = ()
) -> str | None:
    """The known name that `name` is probably meant to be; None when nothing comes near.

    Args:
        known: what it could have been; capitals don't count.
        cutoff: how alike they must be, from 0 to 1.
        present: known names that are there already; of two alike, the other one is meant.
    """
    written = name.casefold()
    names = {each.casefold(): each for each in known}
    matches = get_close_matches(written, names, n=3, cutoff=cutoff)
    alike = [match for match in matches if _ratio(written, match) == _ratio(written, matches[0])]
    # Of two alike, the one with the same letters: "lgo" is "log" rather than "low".
    best = min(
        alike,
        key=lambda match: (sorted(match) != sorted(written), names[match] in present),
        default=None,
    )
    return None if best is None else names[best]


def _ratio(written: str, known: str) -> float:
    return SequenceMatcher(None, known, written).ratio()
