"""Numbers and times of the report, for people."""

from __future__ import annotations

import json
import math
from datetime import datetime, timezone
from typing import Any

from controller.results.durations import spoken

NONE = "-"


def number(value: float | None) -> str:
    """Six digits of a number; ``-`` for none."""
    return NONE if value is None or not math.isfinite(value) else f"{value:.6g}"


def value(found: Any) -> str:
    """A parameter's value: six digits of a float, text as it is, all else as JSON."""
    if isinstance(found, float):
        return number(found) if math.isfinite(found) else str(found)
    return found if isinstance(found, str) else json.dumps(found, ensure_ascii=False, default=str)


def duration(seconds: float | None) -> str:
    """A duration in its two largest units; ``-`` for none."""
    return NONE if seconds is None else spoken(seconds)


def moment(stamp: float | None) -> str:
    """Such as ``2026-11-29 02:33 UTC``; ``-`` for none."""
    if stamp is None:
        return NONE
    return datetime.fromtimestamp(stamp, timezone.utc).strftime("%Y-%m-%d %H:%M UTC")


def exactly(stamp: float | None) -> str | None:
    """Such as ``2026-11-29T02:33:07+00:00``."""
    return (
        None if stamp is None else datetime.fromtimestamp(stamp, timezone.utc).isoformat(timespec="seconds")
    )


def trials(count: int) -> str:
    """Such as ``1 trial``, ``2 trials``."""
    return f"{count} trial{'' if count == 1 else 's'}"
