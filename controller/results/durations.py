"""Durations for people."""

from __future__ import annotations

_UNITS = ((86_400, "d"), (3_600, "h"), (60, "min"))


def spoken(seconds: float) -> str:
    """A duration in its two largest units: ``0.4 s``, ``45 s``, ``3 min 20 s``, ``2 h 5 min``."""
    if seconds < 0:
        return f"-{spoken(-seconds)}"
    if seconds < 9.95:
        return f"{seconds:.1f}".removesuffix(".0") + " s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    names = [*_UNITS, (1, "s")]
    if whole > 86_370:
        whole = round(whole / 60) * 60
    for place, (size, name) in enumerate(_UNITS):
        if whole >= size:
            below, below_name = names[place + 1]
            first, rest = divmod(round(whole / below) * below, size)
            return f"{first} {name}" + (f" {rest // below} {below_name}" if rest else "")
    raise AssertionError(whole)


def brief(seconds: float) -> str:
    """As `spoken`, but whole milliseconds where it is shorter than a second."""
    return f"{seconds * 1000:.0f} ms" if abs(seconds) < 1 else spoken(seconds)
