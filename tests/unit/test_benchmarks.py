from __future__ import annotations

import pytest

from benchmarks.reports import measure
from benchmarks.rows import Row, read_stamps, sample


def test_figures_come_from_the_stamps() -> None:
    lines = [
        f"{slot} {n * 0.1 + s * 0.05} {n * 0.1 + s * 0.05 + 0.08}"
        for n in range(50)
        for s, slot in enumerate("ab")
    ]
    found = sample(read_stamps(lines))
    assert found.per_s == pytest.approx(20.0, rel=0.01)
    assert found.gap_p50_ms == pytest.approx(20.0, rel=0.01)
    assert found.gap_p95_ms == pytest.approx(20.0, rel=0.01)


@pytest.mark.parametrize(
    ("sense", "ours", "holds"), [(">=", 60, True), (">=", 59, False), ("<=", 60, True), ("<=", 61, False)]
)
def test_an_aim_is_met_or_not(sense: str, ours: float, holds: bool) -> None:
    assert Row(name="x", ours=ours, reference=100, sense=sense, aim=0.6).holds is holds


def test_reports_are_measured(redis_url: str) -> None:
    ours, reference = measure(500)
    assert 0 < ours < reference
