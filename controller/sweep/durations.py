"""Durations as people write them, in seconds."""

from __future__ import annotations

import math
import re

from worker.protocol.errors import BadInput

SECONDS = {"d": 86400.0, "h": 3600.0, "m": 60.0, "s": 1.0, "ms": 0.001}

_NUMBER = r"\d+(?:\.\d+)?"
_DURATION = re.compile(
    rf"(?:({_NUMBER})d)?\s*(?:({_NUMBER})h)?\s*(?:({_NUMBER})m)?\s*(?:({_NUMBER})s)?\s*(?:({_NUMBER})ms)?",
    re.ASCII,
)
_PLAIN = re.compile(rf"[+-]?{_NUMBER}", re.ASCII)
_MAX_CHARS = 60
_EXAMPLES = 'write it like "90s", "1h30m", "500ms" or "2d", or as a number of seconds'


def parse_duration(value: object) -> float:
    """Seconds in a duration.

    Args:
        value: a number of seconds, or text such as `"2h"`, `"90s"`, `"1h30m"`, `"500ms"`, `"2d"`: units from
            the largest to the smallest (d, h, m, s, ms), each at most once. `"90"` is 90 seconds.

    Returns:
        Seconds, finite and not negative.

    Raises:
        BadInput: anything else; the message names the value but not where it stands.
    """
    if isinstance(value, str):
        return _parse_text(value)
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise BadInput(f"{value!r} is not a duration; {_EXAMPLES}")
    try:
        seconds = float(value)
    except OverflowError:  # an int that no float can hold
        seconds = math.inf
    return _checked(seconds, str(value) if math.isfinite(seconds) else "the number")


def _parse_text(value: str) -> float:
    text = value.strip().lower()
    if len(text) > _MAX_CHARS:
        raise BadInput(f'"{text[:_MAX_CHARS]}…" is not a duration; {_EXAMPLES}')
    if _PLAIN.fullmatch(text):
        return _checked(float(text), f'"{value}"')
    match = _DURATION.fullmatch(text.removeprefix("-"))
    if match is None or not any(match.groups()):
        raise BadInput(f'"{value}" is not a duration; {_EXAMPLES}')
    seconds = math.fsum(
        float(amount) * unit
        for amount, unit in zip(match.groups(), SECONDS.values(), strict=True)
        if amount is not None
    )
    return _checked(-seconds if text.startswith("-") else seconds, f'"{value}"')


def _checked(seconds: float, shown: str) -> float:
    if not math.isfinite(seconds):
        raise BadInput(f"a duration must be finite; {shown} is not")
    if seconds < 0:
        raise BadInput(f"a duration can't be negative: {shown}")
    return seconds
