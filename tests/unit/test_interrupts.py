from __future__ import annotations

import signal
from typing import Any

import pytest

from controller.session import interrupts as module
from controller.session.interrupts import Interrupts, ServerWait
from tests.servers import free_port
from worker.protocol.errors import BadInput, RedisAway, RedisUnavailable, ServerAway
from worker.trials.storage import open_storage


class Search:
    def __init__(self) -> None:
        self.told: list[str] = []

    def interrupt(self) -> None:
        self.told.append("interrupt")

    def hand_over(self) -> None:
        self.told.append("hand over")


@pytest.mark.parametrize("early", [False, True])
@pytest.mark.parametrize(
    ("hand_over", "signum", "told"),
    [
        (False, signal.SIGTERM, "interrupt"),
        (False, signal.SIGINT, "interrupt"),
        (True, signal.SIGTERM, "hand over"),
        (True, signal.SIGINT, "interrupt"),
    ],
)
def test_what_a_signal_does(early: bool, hand_over: bool, signum: int, told: str) -> None:
    interrupts, search = Interrupts(hand_over=hand_over), Search()
    strategy: Any = search
    if early:
        interrupts(signum, None)
        interrupts.pass_on_to(strategy)
    else:
        interrupts.pass_on_to(strategy)
        assert search.told == []
        interrupts(signum, None)
    assert search.told == [told]
    assert interrupts.handed_over == (told == "hand over")
    with pytest.raises(KeyboardInterrupt):
        interrupts(signal.SIGTERM, None)


def patience(*, wait: bool, interrupts: Interrupts | None = None) -> tuple[ServerWait, list[str]]:
    notes: list[str] = []
    return ServerWait(wait, notes.append, interrupts or Interrupts()), notes


def test_what_may_pass_is_waited_for_and_told_of_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "WAIT_S", 0.0)
    errors: list[Exception] = [
        RedisAway("Redis is away"), RedisAway("Redis is away"), ServerAway("no S3"),
    ]  # fmt: skip

    def call() -> str:
        if errors:
            raise errors.pop(0)
        return "it"

    patient, notes = patience(wait=True)
    assert patient.have(call) == "it"
    assert notes == ["Redis is away; trying again", "no S3; trying again"]


def test_an_interrupt_ends_the_waiting() -> None:
    interrupts = Interrupts()
    patient, _ = patience(wait=True, interrupts=interrupts)

    def call() -> None:
        interrupts(signal.SIGTERM, None)
        raise RedisAway("away")

    with pytest.raises(KeyboardInterrupt):
        patient.have(call)


@pytest.mark.parametrize("wait", [False, True])
@pytest.mark.parametrize("error", [RedisUnavailable("a wrong password"), BadInput("no such scheme")])
def test_what_will_not_pass_is_raised(wait: bool, error: Exception) -> None:
    def call() -> None:
        raise error

    patient, notes = patience(wait=wait)
    with pytest.raises(type(error)):
        patient.have(call)
    assert notes == []


def test_a_database_that_is_away_may_come(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "WAIT_S", 0.0)
    url = f"postgresql+psycopg2://u:geheim@127.0.0.1:{free_port()}/studies"
    with pytest.raises(ServerAway):
        patience(wait=False)[0].have(lambda: open_storage(url))
    interrupts = Interrupts()
    notes: list[str] = []

    def note(text: str) -> None:
        notes.append(text)
        interrupts(signal.SIGTERM, None)

    monkeypatch.setattr(module, "WAIT_S", 1.0)
    with pytest.raises(KeyboardInterrupt):
        ServerWait(True, note, interrupts).have(lambda: open_storage(url))
    assert "Connection refused" in notes[0]
    assert "geheim" not in notes[0]
