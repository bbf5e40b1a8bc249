"""Compare and set: WATCH a key, read, compare, write in MULTI/EXEC; retry if the key changed meanwhile."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import redis

from worker.protocol.connection import watch_all
from worker.protocol.errors import ForbiddenJob, TransitionRefused

T = TypeVar("T")

MAX_TRIES = 1000
"""Attempts at one change. One that loses this often is a bug, not a race."""


@dataclass(frozen=True, kw_only=True)
class Once:
    """Something that is good for one change only, in the whole fleet."""

    key: str
    """Redis key that says that it was used."""
    by: str
    """Who uses it now; stands in the key."""
    life_s: float
    """How long it could be used again, in seconds."""


def compare_and_set(
    client: Any,
    key: str,
    read: tuple[str, ...],
    change: Callable[[Any, Any], T],
    once: Once | None = None,
) -> tuple[T, list[Any]]:
    """Change what `key` guards, all or nothing. Retried while others change the key at the same moment.

    Args:
        client: a redis-py client.
        key: is watched.
        read: the command that reads what is compared; it shares a round trip with WATCH.
        change: ``change(pipe, found)`` compares what was read, calls ``pipe.multi()`` and adds commands;
            without ``multi`` nothing is written. May be called several times; what it raises ends the change.
        once: is used by the change, in the same transaction and round trips.

    Returns:
        What the last call of `change` returned, and the answers to its commands.

    Raises:
        TransitionRefused: others changed the key during each of `MAX_TRIES` attempts.
        ForbiddenJob: `once` was used before.
    """
    if once is None:
        return compare_and_set_all(client, (key,), read, change)

    def use(pipe: Any, found: Any, used: Any) -> T:
        result = change(pipe, found)
        if pipe.explicit_transaction:
            if used is not None:
                raise ForbiddenJob(
                    f"it has been run already, by {used:.100}, and was put on the queue once more"
                )
            pipe.set(once.key, once.by, nx=True, px=milliseconds(once.life_s))
        return result

    return compare_and_set_all(client, (key, once.key), read, use, ("GET", once.key))


def compare_and_set_all(
    client: Any, keys: Sequence[str], read: Sequence[Any], change: Callable[..., T], *reads: Sequence[Any]
) -> tuple[T, list[Any]]:
    """As `compare_and_set`, guarded by several keys.

    Args:
        reads: further commands that read; `change` is given their answers, too.
    """
    with client.pipeline() as pipe:
        for _ in range(MAX_TRIES):
            try:
                result = change(pipe, *watch_all(pipe, keys, (read, *reads)))
                return result, pipe.execute() if pipe.explicit_transaction else []
            except redis.WatchError:
                continue
    raise TransitionRefused("gave up after too many concurrent changes to one task")


def milliseconds(seconds: float) -> int:
    """A time to live as Redis takes it: at least 1."""
    return max(1, round(seconds * 1000))
