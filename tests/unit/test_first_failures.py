"""A study whose first trials all fail alike: what is alike, what counts, and what is said."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from optuna.trial import TrialState

from controller.loop.budget import Budget
from controller.loop.first_failures import FirstFailures, kind_of_failure
from controller.loop.job import Job
from controller.loop.launching import Launching
from controller.loop.recovery import Recovery
from controller.loop.state import checked_first_failures
from tests.fakes import record
from tests.loop_parts import LoopParts
from worker.protocol import Reason, Status, TaskRecord
from worker.protocol.errors import BadInput


def ended(
    reason_class: Reason | None = Reason.OBJECTIVE_ERROR, reason: str = "ValueError: bug", iterations: int = 0
) -> TaskRecord:
    status = reason_class.status if reason_class else Status.COMPLETED
    return record(
        status=status, reason_class=reason_class, reason=reason, compute_s=0.1, iterations=iterations
    )


@pytest.mark.parametrize(
    ("one", "other", "alike"),
    [
        ("ValueError: bug", "ValueError: bug", True),
        ("ValueError: x is 0.25", "ValueError: x is -1e-05", True),
        ("ValueError: no such run: brave-fox", "ValueError: no such run: shy-owl", True),
        ("ValueError: bug", "TypeError: bug", False),
        ("ValueError", "ValueError: bug", True),
        ("exited with code 1: ValueError: bug", "exited with code 1: ValueError: bug 2", True),
        ("exited with code 1: ValueError: bug", "exited with code 1: KeyError: 'a'", False),
        ("exited with code 2: no data in /a", "exited with code 3: no data in /b", True),
        ("exited with code 2: no data", "exited with code 2: no licence", False),
        ("its process was killed by SIGSEGV", "its process was killed by SIGABRT", False),
        ("ValueError: bug\nin 3", "ValueError: bug\nin 4", True),
        ("", "", True),
    ],
)
def test_what_fails_alike(one: str, other: str, alike: bool) -> None:
    first, second = ended(reason=one), ended(reason=other)
    assert (kind_of_failure(first) == kind_of_failure(second)) == alike
    assert kind_of_failure(first) != kind_of_failure(ended(Reason.LAUNCH_ERROR, one))


MACHINE = [reason for reason in Reason if reason.is_machine_fault]


@pytest.mark.parametrize(
    "reason_class", [reason for reason in Reason if reason.status is Status.FAILED and reason not in MACHINE]
)
@pytest.mark.parametrize("count", [1, 2, 10])
def test_the_last_of_the_first_ends_it(reason_class: Reason, count: int) -> None:
    first = FirstFailures(count)
    for _ in range(count - 1):
        assert first.ended(ended(reason_class), ()) == ""
    said = first.ended(ended(reason_class), ())
    assert f"its first {count} trials have all failed alike, {reason_class}: ValueError: bug; " in said
    assert "--retry-failed" in said
    assert "retry_failed=True" in said
    assert "\n" not in said


@pytest.mark.parametrize(
    ("reason_class", "mend"),
    [
        (Reason.TIME_LIMIT, "give each more time, or have it report on the way, then start again"),
        (
            Reason.ITERATION_LIMIT,
            "raise the limit, or have it number its iterations otherwise, then start again",
        ),
    ],
)
def test_a_limit_that_lets_none_report_is_a_failure(reason_class: Reason, mend: str) -> None:
    first = FirstFailures(2)
    assert first.ended(ended(reason_class, "reached its limit of 1 s"), ()) == ""
    said = first.ended(ended(reason_class, "reached its limit of 1 s"), ())
    assert said.endswith(mend)  # what was stopped is not retried


@pytest.mark.parametrize("place", [0, 1, 9])
@pytest.mark.parametrize(
    "other",
    [
        ended(None, ""),
        ended(Reason.PRUNED, "given up"),
        ended(Reason.TIME_LIMIT, "ran for its limit", iterations=1),
        ended(Reason.ITERATION_LIMIT, "reached its limit", iterations=1),
        ended(Reason.COMPUTE_BUDGET, "used up"),
        ended(reason="TypeError: another bug"),
        ended(Reason.INVALID_VALUE, "ValueError: bug"),
    ],
)
def test_one_that_ends_otherwise_lets_the_study_go_on(other: TaskRecord, place: int) -> None:
    first = FirstFailures(10)
    for number in range(30):
        assert first.ended(other if number == place else ended(), ()) == ""


@pytest.mark.parametrize("neutral", [Reason.USER, Reason.STUDY_STOPPED, *MACHINE])
def test_what_somebody_has_ended_says_nothing(neutral: Reason) -> None:
    first = FirstFailures(2)
    assert first.ended(ended(), ()) == ""
    assert first.ended(ended(neutral, "stopped"), ()) == ""
    assert first.ended(ended(), ()) != ""


def test_zero_is_never() -> None:
    first = FirstFailures(0)
    assert not any(first.ended(ended(), ()) for _ in range(100))


@pytest.mark.parametrize("given", [-1, True, 1.5, "3", None])
def test_what_is_no_number_of_jobs_is_refused(given: Any) -> None:
    assert checked_first_failures(0) == 0
    with pytest.raises(BadInput, match="first_failures .*: a number of jobs; 0 for never"):
        checked_first_failures(given)


def test_what_is_known_of_an_earlier_controller_counts_but_does_not_end_it() -> None:
    first = FirstFailures(3)
    for _ in range(5):
        first.know(ended())
    assert "its first 6 trials" in first.ended(ended(), ())


@pytest.mark.parametrize(("ran_s", "holds"), [(4.0, False), (6.0, True)])
def test_a_trial_that_runs_longer_may_do_better(
    redis_url: str, tmp_path: Path, ran_s: float, holds: bool
) -> None:
    parts = LoopParts(redis_url, tmp_path)
    job = parts.running()
    first = FirstFailures(1)
    assert bool(first.ended(ended(), [Long(ran_s)])) != holds  # type: ignore[list-item]
    assert first.ended(ended(), [job]) != ""


class Long:
    """A job that has run for a while."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds

    def is_running(self) -> bool:
        return True

    def computed_s(self) -> float:
        return self._seconds


# In the loop


def failing(parts: LoopParts) -> Job:
    job = parts.running()
    parts.finish(job, Status.FAILED, Reason.OBJECTIVE_ERROR)
    parts.tracker.refresh([job.task_id()])
    parts.tracker.monitor_due()
    parts.search.tell(job.trial, TrialState.FAIL)
    return job


def test_nothing_is_launched_after_it(redis_url: str, tmp_path: Path) -> None:
    parts = LoopParts(redis_url, tmp_path, budget=Budget(100, max_iteration_per_job=9), first_failures=3)
    launching = Launching(parts.context, parts.fleet, parts.tracker)
    for _ in range(2):
        failing(parts)
        assert parts.budget.exceeded() is None
    failing(parts)
    verdict = parts.budget.exceeded()
    assert verdict is not None
    assert verdict.failed
    assert "its first 3 trials have all failed alike" in verdict.reason
    launching.launch_new()
    assert not parts.state.running


@pytest.mark.parametrize(("judged_from", "ends"), [(0, True), (1, True), (2, False), (3, False)])
def test_after_a_crash_the_trials_before_it_count_and_those_before_an_end_do_not(
    redis_url: str, tmp_path: Path, judged_from: int, ends: bool
) -> None:
    parts = LoopParts(redis_url, tmp_path, first_failures=3)
    for _ in range(3):
        failing(parts)
    # Another controller begins.
    parts.budget.hopeless = ""
    parts.tracker.first_failures = FirstFailures(3)
    parts.store.studies.save(replace(parts.store.studies.get("s"), judged_from=judged_from))
    parts.progress.load()
    Recovery(parts.context, parts.monitor, parts.tracker, parts.progress).adopt_leftover()
    assert parts.budget.exceeded() is None
    failing(parts)
    assert (parts.budget.exceeded() is not None) == ends
