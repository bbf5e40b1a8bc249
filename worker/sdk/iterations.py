"""Which iterations of a metric an attempt has reported."""

from __future__ import annotations

from array import array

_LIMIT = 2**63 - 1


class Iterations:
    """Iterations that were reported, so that each counts once. Eight bytes each, as long as they rise.

    Args:
        last: the highest one that an earlier attempt has reported; -1 without one.
    """

    def __init__(self, last: int = -1) -> None:
        self._earlier = last
        self._last: int | None = None
        self._rising = array("q")
        self._seen: set[int] | None = None
        """All of them, once one came out of order."""

    def add(self, iteration: int) -> bool:
        """Take one. False when it was reported before."""
        iteration = max(-_LIMIT, min(_LIMIT, iteration))
        if 0 <= iteration <= self._earlier:
            return False
        if self._last is None or iteration > self._last:
            self._last = iteration
            if self._seen is None:
                self._rising.append(iteration)
            else:
                self._seen.add(iteration)
            return True
        if self._seen is None:
            self._seen = set(self._rising)
            self._rising = array("q")
        if iteration in self._seen:
            return False
        self._seen.add(iteration)
        return True
