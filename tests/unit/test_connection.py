"""Which of Redis' refusals may pass, and what is said of them."""

from __future__ import annotations

import pytest
import redis

from worker.protocol.connection import can_pass, trouble

DISK = "MISCONF Errors writing to the AOF file: No space left on device"


def in_a_transaction(text: str, data: str = "a 1") -> str:
    return f"Command # 1 (SET {data}) of pipeline caused error: {text}"


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (
            redis.ResponseError(DISK),
            "it can't save to its disk (Errors writing to the AOF file: No space left",
        ),
        (redis.ResponseError(in_a_transaction(DISK)), "it can't save to its disk (Errors writing to the AOF"),
        (
            redis.ResponseError(in_a_transaction("NOREPLICAS Not enough good replicas")),
            "min-replicas-to-write",
        ),
        (redis.OutOfMemoryError("command not allowed"), "Redis is full"),
        (redis.OutOfMemoryError(in_a_transaction("command not allowed")), "Redis is full"),
        (redis.ReadOnlyError("x"), "it is a replica"),
        (redis.ConnectionError("refused"), "Redis is away (refused)"),
    ],
)
def test_what_may_pass(error: redis.RedisError, said: str) -> None:
    assert can_pass(error)
    assert said in trouble(error)


@pytest.mark.parametrize(
    "error",
    [
        redis.ResponseError("WRONGTYPE Operation against a key"),
        redis.ResponseError(in_a_transaction("WRONGTYPE Operation", data="a MISCONF")),
        redis.DataError("no"),
    ],
)
def test_what_will_not(error: redis.RedisError) -> None:
    assert not can_pass(error)
