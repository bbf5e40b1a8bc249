"""Which attempt may write, and how a batch of points is stored."""

from __future__ import annotations

import json
import math
from typing import Any

import fakeredis
import pytest

from worker.protocol import Batch, Point, Reason, keys
from worker.protocol.attempt_guard import change_in_attempt, check_holder
from worker.protocol.batch import as_json
from worker.protocol.errors import NoSuchTask, StaleAttempt
from worker.protocol.stop_request import StopRequest

TASK = "1" * 32
KEY = keys.task(TASK)
STOP = StopRequest(reason_class=Reason.USER, reason="asked")


@pytest.fixture
def client() -> Any:
    return fakeredis.FakeRedis(decode_responses=True)


def test_the_holder_gets_the_stop_request() -> None:
    assert check_holder(TASK, ["in_progress", "2", None, None, "w/0"], 2, "w/0") is None
    assert check_holder(TASK, ["in_progress", "2", STOP.to_fields()["stop"], None, "w/0"], 2, "w/0") == STOP


@pytest.mark.parametrize(
    ("guard", "message"),
    [
        (["in_progress", "3", None, None, "w/0"], "attempt 2 is over, attempt 3 is current"),
        (["in_progress", "1", None, None, "w/0"], "attempt 2 is over, attempt 1 is current"),
        ([None, None, None, None, None], "attempt 2 is over"),
        (["in_progress", "2", None, None, "w/1"], r"in_progress \(worker w/1\)"),
        (["queued", "2", None, None, ""], r"queued \(worker -\)"),
        (["stopped", "2", STOP.to_fields()["stop"], None, "w/0"], r"stopped \(worker w/0\)"),
    ],
)
def test_everybody_else_is_refused(guard: list[str | None], message: str) -> None:
    with pytest.raises(StaleAttempt, match=message):
        check_holder(TASK, guard, 2, "w/0")


@pytest.mark.parametrize("attempt", [2, None])
def test_the_current_attempt_and_outsiders_write(client: Any, attempt: int | None) -> None:
    client.hset(KEY, "attempt", 2)
    answers = change_in_attempt(
        client, TASK, attempt, "its output is", lambda pipe: pipe.append("log", "abc")
    )
    assert answers == [3]
    assert client.get("log") == "abc"


@pytest.mark.parametrize("attempt", [1, 3])
def test_another_attempt_writes_nothing(client: Any, attempt: int) -> None:
    client.hset(KEY, "attempt", 2)
    with pytest.raises(StaleAttempt, match=f"attempt {attempt} is over; its output is refused"):
        change_in_attempt(client, TASK, attempt, "its output is", lambda pipe: pipe.append("log", "abc"))
    assert client.get("log") is None


@pytest.mark.parametrize("attempt", [1, None])
def test_without_a_record_nothing_is_written(client: Any, attempt: int | None) -> None:
    with pytest.raises(NoSuchTask, match="has no record"):
        change_in_attempt(client, TASK, attempt, "its output is", lambda pipe: pipe.append("log", "abc"))
    assert client.get("log") is None


def test_an_attempt_that_ends_in_between_writes_nothing(client: Any) -> None:
    client.hset(KEY, "attempt", 1)

    def overtaken(pipe: Any) -> None:
        client.hset(KEY, "attempt", 2)
        pipe.append("log", "abc")

    with pytest.raises(StaleAttempt):
        change_in_attempt(client, TASK, 1, "its output is", overtaken)
    assert client.get("log") is None


def test_a_batch_is_stored_short() -> None:
    points = [
        Point(title="loss", series="", value=0.5, iteration=0, at=1.00049),
        Point(title="acc", series="val/top", value=math.inf, iteration=1, at=2.0),
        Point(title="loss", series="", value=math.nan, iteration=1, at=2.0, is_final=True),
    ]
    text = Batch(seq=3, points=points, summaries={}).encode()
    assert " " not in text
    assert json.loads(text) == [
        3,
        [["loss", 0, 0.5, 1.0], ["acc/val/top", 1, "inf", 2.0], ["loss", 1, "nan", 2.0]],
    ]


@pytest.mark.parametrize("value", [1.5, 0.1 + 0.2, -math.inf, math.inf])
def test_values_read_back_from_json(value: float) -> None:
    assert float(json.loads(json.dumps(as_json(value), allow_nan=False))) == value
