"""Compare and set: all or nothing, and again when somebody else was faster."""

from __future__ import annotations

from typing import Any

import fakeredis
import pytest

from worker.protocol import transaction
from worker.protocol.errors import TransitionRefused
from worker.protocol.transaction import compare_and_set, milliseconds


@pytest.fixture
def client() -> Any:
    return fakeredis.FakeRedis(decode_responses=True)


def test_it_writes_what_it_has_compared(client: Any) -> None:
    client.set("n", 1)

    def change(pipe: Any, found: str) -> str:
        pipe.multi()
        pipe.set("n", int(found) + 1)
        pipe.get("n")
        return found

    assert compare_and_set(client, "n", ("GET", "n"), change) == ("1", [True, "2"])


def test_a_change_in_between_has_it_compare_again(client: Any) -> None:
    client.set("n", 1)
    seen = []

    def change(pipe: Any, found: str) -> None:
        seen.append(found)
        if len(seen) == 1:
            client.set("n", 10)
        pipe.multi()
        pipe.set("n", int(found) + 1)

    compare_and_set(client, "n", ("GET", "n"), change)
    assert seen == ["1", "10"]
    assert client.get("n") == "11"


def test_without_multi_nothing_is_written(client: Any) -> None:
    assert compare_and_set(client, "n", ("GET", "n"), lambda pipe, found: "as it is") == ("as it is", [])


def test_what_the_comparison_raises_writes_nothing(client: Any) -> None:
    def refuse(pipe: Any, found: str | None) -> None:
        pipe.multi()
        pipe.set("n", 1)
        raise KeyError("n")

    with pytest.raises(KeyError):
        compare_and_set(client, "n", ("GET", "n"), refuse)
    assert client.get("n") is None


def test_it_gives_up_in_the_end(client: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transaction, "MAX_TRIES", 3)

    def lose(pipe: Any, found: str | None) -> None:
        client.incr("n")
        pipe.multi()
        pipe.set("n", 0)

    with pytest.raises(TransitionRefused, match="too many concurrent changes"):
        compare_and_set(client, "n", ("GET", "n"), lose)
    assert client.get("n") == "3"


@pytest.mark.parametrize(("seconds", "expected"), [(0.0, 1), (0.0004, 1), (1.5, 1500)])
def test_a_time_to_live_is_never_0(seconds: float, expected: int) -> None:
    assert milliseconds(seconds) == expected
