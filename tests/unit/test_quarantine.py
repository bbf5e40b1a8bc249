"""Which workers are bad nodes."""

from __future__ import annotations

from typing import Any

import pytest

from controller.loop.quarantine import FAILURES, HOLD_S, NodeQuarantine, Pause
from tests.fakes import record
from worker.protocol import Reason, Status, TaskSpec

ALIVE = ["good", "bad"]
FINE: dict[str, Any] = {"status": Status.COMPLETED, "reason_class": None, "reason": ""}
_count = iter(range(10_000))


def ended(worker: str = "bad", *, x: float | None = None, seconds: float = 1.0, **changes: Any) -> Any:
    fields: dict[str, Any] = {
        "status": Status.FAILED,
        "reason_class": Reason.OBJECTIVE_ERROR,
        "reason": f"ImportError: libcuda.so.{next(_count)}: cannot open shared object",
        "worker": f"{worker}/0",
        "started_at": 100.0,
        "ended_at": 100.0 + seconds,
        **changes,
    }
    spec = TaskSpec(parameters={"x": x if x is not None else float(next(_count))}, searched=("x",))
    return record(spec=spec, **fields)


def after(nodes: NodeQuarantine, *records: Any) -> list[Pause | None]:
    return [nodes.ended(found, ALIVE) for found in records]


def test_different_configurations_that_fail_at_once_in_the_same_way() -> None:
    nodes = NodeQuarantine(first_pause_s=60)
    _, *before, last = after(nodes, ended("good", **FINE), *(ended() for _ in range(FAILURES)))
    assert before == [None, None]
    assert last is not None
    assert (last.worker, last.seconds) == ("bad", 60)
    assert last.reason.startswith("3 different configurations failed here at once: objective_error: Import")
    # When it tries again, one more is enough, and it waits for longer.
    again = nodes.ended(ended(), ALIVE)
    assert again is not None
    assert again.seconds == 120
    for _ in range(10):
        again = nodes.ended(ended(), ALIVE)
    assert again is not None
    assert again.seconds == 1800


@pytest.mark.parametrize(
    "changes",
    [
        {"status": Status.COMPLETED, "reason_class": None, "reason": ""},
        {"reason": "ValueError: something else"},
        {"seconds": 600.0},
        {"reason_class": Reason.INVALID_VALUE},
        {"status": Status.STOPPED, "reason_class": Reason.PRUNED},
    ],
    ids=["completed", "another way", "slowly", "its value", "pruned"],
)
def test_anything_else_in_between(changes: dict[str, Any]) -> None:
    nodes = NodeQuarantine()
    nodes.ended(ended("good", **FINE), ALIVE)
    assert after(nodes, ended(), ended(), ended(**changes), ended(), ended()) == [None] * 5
    assert nodes.ended(ended(), ALIVE) is not None


def test_the_same_configuration_again() -> None:
    assert after(NodeQuarantine(), *(ended(x=1.0) for _ in range(6))) == [None] * 6


def test_where_every_worker_fails_it_is_the_objective() -> None:
    nodes = NodeQuarantine()
    found = after(nodes, ended("good"), *(ended() for _ in range(5)), *(ended("good") for _ in range(5)))
    assert found == [None] * 11
    alone = NodeQuarantine()
    assert [alone.ended(ended(), ["bad"]) for _ in range(5)] == [None] * 5


def test_a_worker_that_has_recovered_begins_anew() -> None:
    nodes = NodeQuarantine(first_pause_s=60)
    nodes.ended(ended("good", **FINE), ALIVE)
    after(nodes, *(ended() for _ in range(4)), ended(status=Status.COMPLETED, reason_class=None))
    pause = after(nodes, *(ended() for _ in range(3)))[-1]
    assert pause is not None
    assert pause.seconds == 60


def test_what_never_ran_says_nothing() -> None:
    nodes = NodeQuarantine()
    assert after(nodes, *(ended(worker="", started_at=None) for _ in range(5))) == [None] * 5


def test_as_long_as_nothing_is_known_of_the_others_it_is_held() -> None:
    nodes = NodeQuarantine()
    for _ in range(3):
        *_, held = after(nodes, *(ended() for _ in range(FAILURES)))
        assert held is not None
        assert (held.seconds, held.known) == (HOLD_S, False)
    # Another one that runs something for a while does better.
    paused = nodes.ended(ended(), ALIVE, lasting=lambda: ["good"])
    assert paused is not None
    assert (paused.seconds, paused.known) == (60, True)
    # And one that fails alike does not.
    nodes.ended(ended("good"), ALIVE)
    assert nodes.ended(ended(), ALIVE) is None


def test_what_another_one_ends_tells_of_one_that_is_held() -> None:
    nodes = NodeQuarantine()
    *_, held = after(nodes, *(ended() for _ in range(FAILURES)))
    assert held is not None
    assert not held.known
    paused = nodes.ended(ended("good", **FINE), ALIVE)
    assert paused is not None
    assert (paused.worker, paused.seconds, paused.known) == ("bad", 60, True)
    # Once.
    assert nodes.ended(ended("good", **FINE), ALIVE) is None
