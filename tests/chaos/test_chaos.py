"""The short form of `make chaos`."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.chaos.killer import Chaos


@pytest.mark.timeout(300)
def test_a_study_survives_what_is_killed_at_random(tmp_path: Path, redis_url: str) -> None:
    report = Chaos(tmp_path, seed=7, trials=24, kills=12).run(200)
    assert report.problems == [], report
    assert sum(report.kills.values()) >= 8
    assert report.at_once >= 1
