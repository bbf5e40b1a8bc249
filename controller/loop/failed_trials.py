"""The failed trials of a study that goes on: which there are, why, and whether they run again."""

from __future__ import annotations

from collections.abc import Iterable

from controller.loop.first_failures import first_line, kind_of_failure
from controller.loop.observer import Observer
from controller.search.search import Search
from worker.protocol import Status, TaskRecord

MOST_KINDS = 3
MOST_NUMBERS = 8


class FailedTrials:
    """Says which trials have failed, and has them run again if wanted. Used by the loop's thread only.

    Args:
        search: None for a search whose class creates its own jobs.
        retry: run the failed configurations again.
    """

    def __init__(self, search: Search | None, observer: Observer, *, retry: bool) -> None:
        self._search = search
        self._observer = observer
        self._retry = retry

    def look_at(self, closed: Iterable[TaskRecord]) -> set[str]:
        """Look at what has ended before this controller began.

        Returns:
            Ids of the failed tasks that were given another try, now or before: they leave the budget.
        """
        if self._search is None:
            if self._retry:
                self._observer.note("failed trials can't be run again: this strategy makes its jobs itself")
            return set()
        retried = self._search.retried()
        failed = [record for record in closed if record.status is Status.FAILED]
        left = sorted(
            (record for record in failed if record.trial not in retried), key=lambda record: record.trial
        )
        if self._retry:
            retried |= self._search.retry([record.trial for record in left])
        self._say(left)
        return {record.id for record in failed if record.trial in retried}

    def _say(self, left: list[TaskRecord]) -> None:
        them = "it" if len(left) == 1 else "them"
        if not left:
            if self._retry:
                self._observer.note("there is no failed trial to run again")
        elif self._retry:
            self._observer.note(f"{_said(left)}; running {them} again")
        else:
            self._observer.note(
                f"{_said(left)}; mend the cause, and --retry-failed runs {them} again "
                "(retry_failed=True in a program)"
            )


def _said(failed: list[TaskRecord]) -> str:
    """How many failed and why: ``3 trials have failed: 2 × objective_error: … (trials 0, 4); …``."""
    kinds: dict[str, list[TaskRecord]] = {}
    for record in failed:
        kinds.setdefault(kind_of_failure(record), []).append(record)
    ordered = sorted(kinds.values(), key=len, reverse=True)
    parts = [
        f"{len(alike)} × {alike[0].reason_class}: {first_line(alike[0])[:200]} ({_numbers(alike)})"
        for alike in ordered[:MOST_KINDS]
    ]
    rest = sum(map(len, ordered[MOST_KINDS:]))
    if rest:
        parts.append(f"{rest} otherwise")
    count = "1 trial has" if len(failed) == 1 else f"{len(failed)} trials have"
    return f"{count} failed: {'; '.join(parts)}"


def _numbers(alike: list[TaskRecord]) -> str:
    numbers = [record.trial for record in alike]
    shown = ", ".join(map(str, numbers[:MOST_NUMBERS])) + (", …" if len(numbers) > MOST_NUMBERS else "")
    return f"trial{'s' if len(numbers) > 1 else ''} {shown}"
