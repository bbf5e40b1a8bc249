"""Reports of one trial in few characters: their places among the study's decisions, and their iterations."""

from __future__ import annotations

import re
import zlib
from collections.abc import Iterator
from typing import Any

CHUNK = 64
"""Reports in one part: it is written again with each report that comes to it."""


class ReportPart:
    """Up to `CHUNK` reports of one trial, in few characters.

    For each after the first, how much further its place and its iteration are: ``3`` (the next iteration),
    ``3/5`` otherwise, ``3*7`` for seven alike.
    """

    def __init__(self, place: int) -> None:
        self.place = place
        self.is_new = False
        """Something was added since it was written."""
        self._first: tuple[int, int, float] | None = None
        self._last = (0, 0, 0.0)
        self._count = 0
        self._text = ""
        self._run = ("", 0)
        self._sum = 0

    @property
    def is_full(self) -> bool:
        return self._count >= CHUNK

    def add(self, n: int, at: float, step: int, value: float) -> None:
        self._sum = report_sum(value, self._sum)
        if self._first is None:
            self._first = (n, step, at)
        else:
            further, steps = n - self._last[0], step - self._last[1]
            token = str(further) if steps == 1 else f"{further}/{steps}"
            if token == self._run[0]:
                self._run = (token, self._run[1] + 1)
            else:
                self._text, self._run = self._shown(), (token, 1)
        self._last = (n, step, at)
        self._count += 1
        self.is_new = True

    def _shown(self) -> str:
        token, count = self._run
        return f"{self._text} {token}*{count}".strip() if count > 1 else f"{self._text} {token}".strip()

    def encode(self) -> list[Any]:
        """``[place, iteration, time of the first, place, time of the last, the others, checksum]``."""
        assert self._first is not None
        return [*self._first, self._last[0], self._last[2], self._shown(), self._sum]


def report_sum(value: float, before: int) -> int:
    """The checksum of reports up to one, given that of the reports before; 0 before the first."""
    return zlib.crc32(repr(float(value)).encode(), before)


_TOKEN = re.compile(r"(\d+)(?:/(-?\d+))?(?:\*(\d+))?")


def reports_in(part: Any) -> Iterator[tuple[int, float, dict[str, Any]]]:
    """The reports of a part as `ReportPart.encode` gives it: (place, time, ``step`` and maybe ``sum``).

    Times between the first and the last are spread evenly over the places.

    Raises:
        TypeError, ValueError: it is no such part.
    """
    first, step, begun, last, ended, text, checksum = part
    places = [(int(first), int(step))]
    for word in str(text).split():
        match = _TOKEN.fullmatch(word)
        if match is None or int(match[3] or 1) > CHUNK:
            raise ValueError(f"{word!r:.20} is no report")
        for _ in range(int(match[3] or 1)):
            n, step = places[-1]
            places.append((n + int(match[1]), step + int(match[2] or 1)))
    if len(places) > CHUNK or places[-1][0] != int(last):
        raise ValueError("reports are missing")
    span = max(1, int(last) - int(first))
    for n, step in places:
        at = float(begun) + (float(ended) - float(begun)) * (n - int(first)) / span
        why = {"step": step} | ({"sum": int(checksum)} if n == int(last) else {})
        yield n, round(at, 3), why
