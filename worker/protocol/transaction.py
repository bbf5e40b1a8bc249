"""Compare and set: WATCH a key, read, compare, write in MULTI/EXEC; retry if the key changed meanwhile."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import redis

from worker.protocol.connection import watch
from worker.protocol.errors import TransitionRefused

T = TypeVar("T")

MAX_TRIES = 1000
"""Attempts at one change. One that loses this often is a bug, not a race."""


def compare_and_set(
    client: Any, key: str, read: tuple[str, ...], change: Callable[[Any, Any], T]
) -> tuple[T, list[Any]]:
    """Change what `key` guards, all or nothing. Retried while others change the key at the same moment.

    Args:
        client: a redis-py client.
        key: is watched.
        read: the command that reads what is compared; it shares a round trip with WATCH.
        change: ``change(pipe, found)`` compares what was read, calls ``pipe.multi()`` and adds commands;
            without ``multi`` nothing is written. May be called several times; what it raises ends the change.

    Returns:
        What the last call of `change` returned, and the answers to its commands.

    Raises:
        TransitionRefused: others changed the key during each of `MAX_TRIES` attempts.
    """
    with client.pipeline() as pipe:
        for _ in range(MAX_TRIES):
            try:
                result = change(pipe, watch(pipe, key, *read))
                return result, pipe.execute() if pipe.explicit_transaction else []
            except redis.WatchError:
                continue
    raise TransitionRefused("gave up after too many concurrent changes to one task")


def milliseconds(seconds: float) -> int:
    """A time to live as Redis takes it: at least 1."""
    return max(1, round(seconds * 1000))
