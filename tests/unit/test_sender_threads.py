"""A process that runs many trials keeps no thread of those that have ended."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator

import pytest

from tests.e2e.harness import wait_for
from worker.process.channel import Endpoint
from worker.sdk.session import ChannelSession


@pytest.fixture
def ends() -> Iterator[tuple[Endpoint, Endpoint]]:
    """The program's end of a channel, and the slot's."""
    ours, slots = socket.socketpair()
    with ours, slots:
        yield Endpoint(ours), Endpoint(slots)


def senders() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "optuna-rq-sender"]


def values(slot: Endpoint, count: int) -> list[float]:
    """The values of the next `count` points that the slot gets."""
    found: list[float] = []
    while len(found) < count:
        for message in slot.receive() or ():
            found += [point[2] for point in message["points"]]
    return found


def report(session: ChannelSession, value: float) -> None:
    session.report(("loss", "", value, 0, time.time()))


def test_each_trial_ends_its_thread(ends: tuple[Endpoint, Endpoint]) -> None:
    endpoint, slot = ends
    before = len(senders())
    for number in range(100):
        session = ChannelSession(endpoint)
        report(session, float(number))
        session.close()
    assert values(slot, 100) == [float(number) for number in range(100)]
    wait_for(lambda: len(senders()) <= before, "the threads of ended sessions to be gone")


@pytest.mark.parametrize("pause_s", [0.0, 0.05])
def test_close_sends_what_is_left_and_a_later_report_still_goes(
    pause_s: float, ends: tuple[Endpoint, Endpoint]
) -> None:
    endpoint, slot = ends
    session = ChannelSession(endpoint)
    report(session, 1.0)
    time.sleep(pause_s)  # the thread has sent, or is about to
    report(session, 2.0)
    session.close()
    session.close()
    report(session, 3.0)
    assert values(slot, 3) == [1.0, 2.0, 3.0]
    session.close()


def test_no_point_is_lost_while_sessions_close(ends: tuple[Endpoint, Endpoint]) -> None:
    endpoint, slot = ends
    session = ChannelSession(endpoint)
    got: list[float] = []
    reader = threading.Thread(target=lambda: got.extend(values(slot, 2000)))
    reader.start()
    closing = threading.Event()

    def close() -> None:
        while not closing.is_set():
            session.close()

    closer = threading.Thread(target=close)
    closer.start()
    for number in range(2000):
        report(session, float(number))
    closing.set()
    closer.join()
    session.close()
    reader.join(30)
    assert sorted(got) == [float(number) for number in range(2000)]
