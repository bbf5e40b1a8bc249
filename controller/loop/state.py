"""What the parts of one loop share: its settings, its jobs, and what others ask of it."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from numbers import Real
from typing import Any, Literal, Protocol, cast, get_args

from controller.loop.budget import Verdict
from controller.loop.first_failures import FIRST
from controller.loop.job import Job
from controller.results.course import Course
from controller.search.search import Asked
from controller.sweep.stop_rules import StopRule, check_rules
from worker.protocol import Reason, Status, StudyState
from worker.protocol.errors import BadInput

OnNan = Literal["fail", "prune", "ignore"]


SHORTEST_POOL_S = 0.5
"""Between two readings of all running records, where no time is wanted between them."""


@dataclass(frozen=True, kw_only=True)
class LoopSettings:
    """How a loop treats its jobs. Times are in seconds."""

    pool_period_s: float = 120.0
    """Between two readings of all running records."""
    lease_s: float = 15.0
    """A worker that was silent for so long is lost."""
    max_attempts: int = 3
    """Executions of one task before it is given up."""
    retry_on: tuple[str, ...] = ()
    """Classes of failures after which a task gets another attempt."""
    first_failures: int = FIRST
    """The study ends when its first so many trials have all failed alike; 0 for never."""
    retry_failed: bool = False
    """The failed trials of the study so far run again."""
    constraints: tuple[Mapping[str, Any], ...] = ()
    """``{"metric": "title/series", "max": bound}``, or ``min``."""
    stop_when: tuple[StopRule, ...] = ()
    """The study ends when one of these holds."""
    on_nan: OnNan | None = None
    """What becomes of a job whose objective is reported as not a number, where the pruner lets it go on.

    None fails it where there is no pruner to ask, and leaves it to the pruner otherwise.
    """


@dataclass
class LoopState:
    """The jobs of one loop and how it does. Changed by the loop's thread only; others may read it."""

    study: str = ""
    queue: str = "default"
    running: dict[str, Job] = field(default_factory=dict)
    """Task id → job, of the jobs that were launched and have not ended."""
    created: dict[str, dict[str, Any]] = field(default_factory=dict)
    """Task id → the parameters chosen for it, of all jobs."""
    asked: deque[Asked] = field(default_factory=deque)
    """Trials that have no job yet, the next one first."""
    due: set[str] = field(default_factory=set)
    """Ids of the running tasks to monitor in this step."""
    dismissed: set[str] = field(default_factory=set)
    """Ids of the running tasks that a subclass has given up."""
    ended: list[Job] = field(default_factory=list)
    """Jobs whose trials are still to be told, oldest first."""
    verdict: Verdict | None = None
    """Why it ends; None until that is decided."""
    closed: bool = False
    """The loop has ended, and written all."""
    status: str = StudyState.RUNNING
    """One of `StudyState`."""
    reason: str = ""
    """Why it ended, or is held; else empty."""
    course: Course | None = None
    """How its results have come; None before the loop has begun."""
    held: str = ""
    """Why nothing is launched for now: the machines of all workers have a fault; else empty."""

    def jobs_running(self) -> list[Job]:
        """The jobs that were launched and have not ended, less those that a subclass has given up."""
        return [job for task_id, job in list(self.running.items()) if task_id not in self.dismissed]


class Requests:
    """What others ask of a loop. Safe from any thread."""

    def __init__(self) -> None:
        self.stops = False
        """The end was asked for."""
        self.interrupted = False
        """The study is to be continued: what was cut short is tried again then."""
        self.hands_over = False
        """What runs goes on: the next controller adopts it."""
        self.time_over = ""
        """Why the time of the whole search is over; empty while it is not."""
        self.finish = False
        """An objective called ``study.stop()``: what runs is the last."""
        self.paused = False
        """Nothing is launched."""

    def stop(self) -> None:
        """End the search: what runs is stopped."""
        self.stops = True

    def interrupt(self) -> None:
        """As `stop`, for a study that is to be continued."""
        self.interrupted = True
        self.stop()

    def hand_over(self) -> None:
        """As `interrupt`, and what runs goes on."""
        self.hands_over = True
        self.interrupt()


class Hooks(Protocol):
    """The steps of the loop that a subclass of `SearchStrategy` may replace."""

    def process_step(self) -> bool: ...

    def get_running_jobs(self) -> Sequence[Job]: ...

    def create_job(self) -> Job | None: ...

    def monitor_job(self, job: Job) -> bool: ...

    def helper_create_job(
        self,
        base_task_id: str,
        parameter_override: Mapping[str, Any] | None = None,
        **kwargs: Any,
    ) -> Job: ...


def checked_retries(given: Sequence[str]) -> tuple[str, ...]:
    """The classes of failures to try again after. Raises `BadInput` for one that there isn't."""
    failures = [reason for reason in Reason if reason.status is Status.FAILED]
    known = [
        reason.value for reason in failures if not reason.is_machine_fault
    ]  # those are tried again anyhow
    wrong = [name for name in given if name not in known]
    if isinstance(given, str) or wrong:
        raise BadInput(f"retry_on: a list of {', '.join(known)}; not {given!r:.80}")
    return tuple(given)


def checked_on_nan(given: str | None, objectives: int) -> OnNan | None:
    """What becomes of a job whose objective is not a number. Raises `BadInput` for what can't be."""
    if given is None:
        return None
    if given == "prune" and objectives > 1:
        raise BadInput(
            f"on_nan: {objectives} objectives can't be pruned, Optuna prunes a single one; use fail or ignore"
        )
    for known in get_args(OnNan):
        if given == known:
            return cast("OnNan", given)
    raise BadInput(f"on_nan: one of {', '.join(get_args(OnNan))}; not {given!r:.80}")


def checked_first_failures(given: int) -> int:
    """How many jobs have to fail alike. Raises `BadInput` for what is no such number."""
    if isinstance(given, bool) or not isinstance(given, int) or given < 0:
        raise BadInput(f"first_failures {given!r:.80}: a number of jobs; 0 for never")
    return given


def checked_stop_when(arguments: Mapping[str, Any]) -> tuple[StopRule, ...]:
    """The rules by which a search ends. Raises `BadInput` for one that can't be read, or kept."""
    given = arguments["stop_when"]
    texts = [given] if isinstance(given, str) else list(given)
    metrics = arguments["objective_metric"].metrics
    rules, problems = check_rules(
        texts,
        [(metric.key, metric.sign.maximizes) for metric in metrics],
        constrained=bool(arguments["constraints"]),
    )
    if problems:
        raise BadInput(*(f"stop_when: {problem.text}" for problem in problems))
    return tuple(rules)


def settings_of(arguments: Mapping[str, Any]) -> LoopSettings:
    """How the loop treats its jobs, by the arguments of `SearchStrategy`. Raises `BadInput`."""
    return LoopSettings(
        pool_period_s=max(arguments["pool_period_min"] * 60, SHORTEST_POOL_S),
        lease_s=arguments["lease_s"],
        max_attempts=arguments["max_attempts"],
        retry_on=checked_retries(arguments["retry_on"]),
        first_failures=checked_first_failures(arguments["first_failures"]),
        retry_failed=bool(arguments["retry_failed"]),
        constraints=tuple(dict(constraint) for constraint in arguments["constraints"]),
        stop_when=checked_stop_when(arguments),
        on_nan=checked_on_nan(arguments["on_nan"], len(arguments["objective_metric"].metrics)),
    )


_LIMITS = (
    "time_limit_per_job",
    "compute_time_limit",
    "max_iteration_per_job",
    "total_max_jobs",
    "num_concurrent_workers",
    "wall_clock_limit",
    "max_failures",
)
_NOT_BELOW_ZERO = ("pool_period_min", "min_iteration_per_job")


def refuse_contradictions(arguments: Mapping[str, Any], min_iterations: int | None) -> None:
    """Check that each limit is possible, and that all can be kept together.

    Args:
        arguments: of `SearchStrategy`, by name.

    Raises:
        BadInput: a line for each limit that is no number, not above 0, or contradicts another.
    """
    problems: list[str] = []
    given = {**arguments, "min_iteration_per_job": min_iterations}
    for name in (*_LIMITS, *_NOT_BELOW_ZERO):
        value = given[name]
        if value is None:
            continue
        if isinstance(value, bool) or not isinstance(value, Real):
            problems.append(f"{name} {value!r:.80} must be a number")
        elif name in _LIMITS and not float(value) > 0:
            problems.append(f"{name} {value} must be above 0")
        elif not float(value) >= 0:
            problems.append(f"{name} {value} must not be below 0")
    most: int | None = arguments["max_iteration_per_job"]
    if not problems and min_iterations is not None and most is not None and min_iterations > most:
        problems.append(f"min_iteration_per_job {min_iterations} is above max_iteration_per_job {most}")
    if problems:
        raise BadInput(*problems)
