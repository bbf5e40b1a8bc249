"""Waiting for an artifact store that is away or full."""

from __future__ import annotations

import pytest

from worker.artifacts.protocol import ArtifactStoreUnavailable
from worker.artifacts.retrying import retry_while_away
from worker.protocol.errors import ArtifactError


class Store:
    """A store that refuses so many calls, and a clock."""

    def __init__(self, refusals: int) -> None:
        self.refusals = refusals
        self.now = 0.0
        self.calls: list[float] = []
        self.told: list[float] = []

    def call(self) -> str:
        self.calls.append(self.now)
        if len(self.calls) <= self.refusals:
            raise ArtifactStoreUnavailable("away")
        return "done"

    def sleep(self, seconds: float) -> None:
        self.now += seconds

    def run(self, patience_s: float) -> str:
        return retry_while_away(
            self.call,
            patience_s,
            away=lambda error, seconds: self.told.append(seconds),
            clock=lambda: self.now,
            sleep=self.sleep,
        )


@pytest.mark.parametrize(("refusals", "told"), [(0, []), (2, []), (3, [2.0]), (6, [2.0, 4.0, 8.0, 10.0])])
def test_it_is_told_once_it_lasts(refusals: int, told: list[float]) -> None:
    store = Store(refusals)
    assert store.run(300.0) == "done"
    assert store.told == told


def test_patience_ends() -> None:
    store = Store(1000)
    with pytest.raises(ArtifactStoreUnavailable):
        store.run(60.0)
    assert store.calls[-1] == pytest.approx(60.0, abs=0.5)
    with pytest.raises(ArtifactStoreUnavailable):
        store.run(0.0)


def test_what_will_not_pass_is_raised_at_once() -> None:
    def refuse() -> None:
        raise ArtifactError("no such bucket")

    with pytest.raises(ArtifactError):
        retry_while_away(refuse, 300.0, sleep=lambda seconds: pytest.fail("it waits"))
