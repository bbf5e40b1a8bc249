"""Lines of ended trials: each its own while they come slowly, one for many when they don't; none is left out."""

from __future__ import annotations

from dataclasses import replace

from controller.results.live import EndedTrial, ended_trial
from controller.screen.grouping import LOG, Group, Grouping, Pace
from tests.fakes import ManualClock, record
from worker.protocol import Reason, Status

PACE = Pace(burst=3, every_s=2.0, hold_s=5.0)


def ended(trial: int, status: Status = Status.COMPLETED, **changes: object) -> EndedTrial:
    return ended_trial(record(trial=trial, status=status, **changes), {"loss": 0.5})


def numbers(lines: list[EndedTrial | Group]) -> list[int | list[int]]:
    """The trials of each line."""
    return [[one.trial for one in line.trials] if isinstance(line, Group) else line.trial for line in lines]


def test_slow_trials_have_a_line_each_for_ever() -> None:
    clock = ManualClock()
    grouping = Grouping(PACE, clock.monotonic)
    for trial in range(50):
        assert numbers(grouping.add(ended(trial))) == [trial]
        clock.sleep(2.0)
    assert grouping.rest() == []


def test_fast_trials_share_a_line_at_most_every_few_seconds() -> None:
    clock = ManualClock()
    grouping = Grouping(LOG, clock.monotonic)
    printed: list[int | list[int]] = []
    for trial in range(3000):  # a hundred a second
        printed += numbers([*grouping.due(), *grouping.add(ended(trial))])
        clock.sleep(0.01)
    after = printed[LOG.burst :]
    assert printed[: LOG.burst] == list(range(LOG.burst))
    assert all(isinstance(one, list) for one in after)
    assert len(after) <= 30 / LOG.hold_s
    printed += numbers(grouping.rest())
    assert [n for one in printed for n in ([one] if isinstance(one, int) else one)] == list(range(3000))


def test_what_waits_is_printed_in_time_though_nothing_follows() -> None:
    clock = ManualClock()
    grouping = Grouping(PACE, clock.monotonic)
    for trial in range(5):
        grouping.add(ended(trial))
    assert grouping.due() == []
    clock.sleep(PACE.hold_s)
    # By then there is room for a line each.
    assert numbers(grouping.due()) == [3, 4]
    assert grouping.due() == []


def test_a_single_one_that_waits_is_no_group() -> None:
    clock = ManualClock()
    grouping = Grouping(replace(PACE, burst=1), clock.monotonic)
    assert numbers(grouping.add(ended(0))) == [0]
    assert grouping.add(ended(1)) == []
    assert numbers(grouping.rest()) == [1]


def test_a_group_says_how_its_trials_ended() -> None:
    failed = {"status": Status.FAILED, "reason_class": Reason.OBJECTIVE_ERROR}
    group = Group(
        trials=[
            ended(31),
            ended(33, **failed, reason="ValueError: no file"),
            ended(32, **failed, reason="ValueError: no file"),
            ended(34, **failed, reason="KeyError"),
            ended(40, Status.STOPPED, reason_class=Reason.PRUNED, reason=""),
        ]
    )
    assert str(group) == (
        "5 trials ended (31 to 40): 1 completed, 3 failed (objective_error: ValueError: no file), "
        "1 stopped (pruned)"
    )
