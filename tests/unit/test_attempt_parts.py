"""The parts of an attempt: what is due when, how its program is stopped, how its end is written."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from worker.protocol.errors import ObjectiveLoadError, StaleAttempt, TransitionRefused
from worker.protocol.faults import Fault, Lacking
from worker.protocol.record import TaskRecord, TaskSpec
from worker.protocol.status import Reason, Status
from worker.protocol.stop_request import StopRequest
from worker.slot.code_fetch import CodeFetch
from worker.slot.finishing import Finishing
from worker.slot.outcome import Outcome
from worker.slot.schedule import Schedule
from worker.slot.stopping import SHUTTING_DOWN, Stopping

LATE = StopRequest(reason_class=Reason.TIME_LIMIT, reason="late")
USER = StopRequest(reason_class=Reason.USER, reason="enough")


def test_a_schedule_runs_what_is_due() -> None:
    schedule, ran = Schedule(), []
    assert schedule.next == float("inf")
    schedule.run(1.0)
    schedule.every(1.0, 2.0, lambda: ran.append("often"))
    schedule.once(2.0, lambda: ran.append("once"))
    assert schedule.next == 1.0
    schedule.run(0.9)
    assert ran == []
    schedule.run(2.5)
    assert ran == ["often", "once"]
    assert schedule.next == 4.5  # counted from when it was run
    schedule.run(4.5)
    schedule.run(4.6)
    assert ran == ["often", "once", "often"]


def test_a_period_may_change() -> None:
    schedule, periods = Schedule(), [5.0, 1.0]
    schedule.every(0.0, lambda: periods.pop(0), lambda: None)
    schedule.run(0.0)
    assert schedule.next == 5.0
    schedule.run(5.0)
    assert schedule.next == 6.0


class Program:
    pid = runs_as = 4242

    def __init__(self) -> None:
        self.calls: list[Any] = []

    def send(self, message: Any) -> None:
        self.calls.append(("send", message))

    def terminate(self) -> None:
        self.calls.append("terminate")

    def kill(self, keep: frozenset[int]) -> None:
        self.calls.append(("kill", keep))


class Store:
    """What of a store an attempt's end needs."""

    def __init__(self) -> None:
        self.transitions = self.studies = self
        self.calls: list[tuple[str, dict[str, Any]]] = []
        self.raises: list[Exception] = []

    def _called(self, name: str, options: dict[str, Any]) -> None:
        self.calls.append((name, options))
        if self.raises:
            raise self.raises.pop(0)

    def finish(self, task_id: str, attempt: int, status: Status, **options: Any) -> None:
        self._called("finish", {"status": status, **options})

    def requeue(self, task_id: str, attempt: int, **options: Any) -> None:
        self._called("requeue", options)

    def request(self, study: str, what: str) -> None:
        self._called(what, {"study": study})


class Reporter:
    def __init__(self) -> None:
        self.stale, self.stop = False, None
        self.away = 0
        """How many more writes fail since Redis is away."""
        self.renewals = 0

    def flush(self, *, but_last: bool) -> bool:
        return True

    def attempt(self, write: Any) -> bool:
        if self.away:
            self.away -= 1
            return False
        try:
            write()
        except StaleAttempt:
            self.stale = True
            return False
        return True

    def renew(self) -> None:
        self.renewals += 1

    def last(self) -> None:
        return None

    def summaries(self) -> dict[str, Any]:
        return {}


class Machine:
    """A machine of which a test says whether its fault is still there."""

    def __init__(self) -> None:
        self.is_ill = False
        self.calls: list[Any] = []

    def lasts(self, fault: Fault, store: str | None) -> bool:
        return self.is_ill

    def hold(self, fault: Fault, store: str | None, *, lasts: bool) -> None:
        self.calls.append((fault.reason_class, lasts))

    def works(self) -> None:
        self.calls.append("works")


class Bench:
    def __init__(self, *, attempt: int = 1, **spec: Any) -> None:
        self.now = 100.0
        self.hand_back_at: float | None = None
        self.store, self.reporter, self.program = Store(), Reporter(), Program()
        self.record = TaskRecord(
            id="a" * 32,
            name="t",
            study="s",
            worker="w/0",
            attempt=attempt,
            spec=TaskSpec(objective={"kind": "function", "target": "m:f"}, **spec),
            created_at=1.0,
        )
        self.machine = Machine()
        self.context: Any = SimpleNamespace(
            memory_bytes=0,
            group=None,
            hand_back_at=lambda: self.hand_back_at,
            keep=lambda: frozenset({1}),
            runner=SimpleNamespace(pid=7),
            store=self.store,
            machine=self.machine,
        )
        self.channel: Any = SimpleNamespace(stop=lambda request: request.reason, result=None, mark=None)
        self.stopping = Stopping(self.record, self.context, self.channel, lambda: self.now)
        reporter: Any = self.reporter
        self.finishing = Finishing(
            self.record, self.context, reporter, self.channel, self.stopping, lambda: self.now
        )

    def runs(self) -> None:
        program: Any = self.program
        self.stopping.program = program

    def finish(self, outcome: Outcome, exit_code: int | None = 0) -> bool:
        return self.finishing.finish(outcome, exit_code, 2.0)


def test_a_program_is_asked_once_and_killed_after_its_grace_period() -> None:
    bench = Bench(grace_s=5.0)
    stopping = bench.stopping
    stopping.ask(USER)  # there is none yet
    assert stopping.request is None
    bench.runs()
    stopping.ask(USER)
    stopping.ask(LATE)
    assert stopping.request == USER
    assert bench.program.calls == [("send", "enough"), "terminate"]
    assert (stopping.due, stopping.overdue) == (105.0, False)
    bench.now = 105.0
    assert stopping.overdue
    stopping.kill()
    stopping.kill()
    assert bench.program.calls[2:] == [("kill", frozenset({1, 7}))]
    assert (stopping.due, stopping.overdue) == (float("inf"), False)


def test_a_shutdown_asks_when_its_time_has_come() -> None:
    bench = Bench(grace_s=5.0)
    bench.runs()
    bench.stopping.ask_for_shutdown()
    bench.hand_back_at = 110.0
    bench.stopping.ask_for_shutdown()
    assert (bench.stopping.request, bench.stopping.due) == (None, 110.0)
    bench.now = 110.0
    bench.stopping.ask_for_shutdown()
    assert bench.stopping.request == SHUTTING_DOWN
    assert bench.stopping.hand_back
    assert not bench.stopping.overdue
    bench.hand_back_at = 0.0  # a second signal: at once
    assert bench.stopping.overdue


def test_more_memory_than_it_may_have(monkeypatch: pytest.MonkeyPatch) -> None:
    bench = Bench()
    bench.context.memory_bytes = 1 << 30
    monkeypatch.setattr("worker.slot.stopping.memory_of", lambda *pids: used)
    used = 3 << 30
    bench.stopping.check_memory()  # there is no program yet
    bench.runs()
    used = 1 << 30
    bench.stopping.check_memory()
    assert not bench.stopping.killed
    used = 3 << 30
    bench.stopping.check_memory()
    assert bench.stopping.killed
    assert "--memory" in bench.stopping.over_memory


COMPLETED = Outcome(status=Status.COMPLETED)
FAILED = Outcome(status=Status.FAILED, reason_class=Reason.OBJECTIVE_ERROR, reason="ValueError: no")


def test_an_end_is_written_once_redis_takes_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("worker.slot.finishing.RETRY_S", 0.001)
    bench = Bench()
    bench.reporter.away = 2
    assert bench.finish(COMPLETED)
    assert [name for name, _ in bench.store.calls] == ["finish"]
    assert bench.reporter.renewals == 2
    assert bench.finishing.ended_as == ("completed", "")


def test_an_end_that_is_refused_is_dropped() -> None:
    bench = Bench()
    bench.store.raises = [TransitionRefused("it has ended")]
    assert not bench.finish(COMPLETED)
    bench = Bench()
    bench.store.raises = [StaleAttempt("another has it")]
    assert not bench.finish(COMPLETED)


@pytest.mark.parametrize(("attempts", "written"), [(2, "requeue"), (1, "finish")])
def test_what_may_be_tried_again(attempts: int, written: str) -> None:
    bench = Bench(retry_on=["objective_error"], max_attempts=attempts)
    assert bench.finish(FAILED, 1) == (written == "finish")
    (name, options), *_ = bench.store.calls
    assert name == written
    if written == "requeue":
        assert options["reason"] == "objective_error: ValueError: no; tried again"
        assert not options["handed_back"]


FULL = Fault(reason_class=Reason.DISK_FULL, lacking=Lacking.SPACE, reason="OSError: no room")
LOST = Outcome(status=Status.FAILED, reason_class=Reason.DISK_FULL, reason="OSError: no room", fault=FULL)


@pytest.mark.parametrize("max_attempts", [1, 3])
def test_a_fault_that_is_still_there_costs_no_attempt(max_attempts: int) -> None:
    bench = Bench(max_attempts=max_attempts)
    bench.machine.is_ill = True
    assert not bench.finish(LOST, None)
    ((name, options),) = bench.store.calls
    assert (name, options["handed_back"]) == ("requeue", True)
    assert options["reason"] == "disk_full: OSError: no room; tried again"
    assert bench.finishing.ended_as == ("requeued", "disk_full")
    assert bench.machine.calls == [(Reason.DISK_FULL, True)]


@pytest.mark.parametrize(("max_attempts", "written"), [(2, "requeue"), (1, "finish")])
def test_a_fault_that_went_with_the_program_counts(max_attempts: int, written: str) -> None:
    bench = Bench(max_attempts=max_attempts)
    assert bench.finish(LOST, None) == (written == "finish")
    ((name, options),) = bench.store.calls
    assert name == written
    if written == "requeue":
        assert not options["handed_back"]
    else:
        assert options["reason_class"] is Reason.DISK_FULL
    assert bench.machine.calls == [(Reason.DISK_FULL, False)]


@pytest.mark.parametrize(("attempt", "written"), [(29, "requeue"), (30, "finish")])
def test_a_program_that_fills_every_disk_itself_comes_to_an_end(attempt: int, written: str) -> None:
    bench = Bench(max_attempts=3, attempt=attempt)
    bench.machine.is_ill = True
    bench.finish(LOST, None)
    assert bench.store.calls[0][0] == written


def test_a_stop_request_comes_before_the_machines_fault() -> None:
    bench = Bench()
    bench.stopping.request = LATE
    bench.machine.is_ill = True
    assert bench.finish(LOST, None)
    assert bench.store.calls[0][0] == "finish"


@pytest.mark.parametrize(("outcome", "calls"), [(COMPLETED, ["works"]), (FAILED, ["works"])])
def test_an_end_of_its_own_shows_that_the_machine_works(outcome: Outcome, calls: list[str]) -> None:
    bench = Bench()
    bench.finish(outcome)
    assert bench.machine.calls == calls


def test_a_program_that_was_asked_to_stop_is_not_tried_again() -> None:
    bench = Bench(retry_on=["objective_error"], max_attempts=2)
    bench.stopping.request = LATE
    assert bench.finish(FAILED, 1)


def test_a_shutdown_hands_its_task_back() -> None:
    bench = Bench()
    bench.hand_back_at = 0.0
    assert not bench.finish(FAILED, -15)
    ((name, options),) = bench.store.calls
    assert (name, options["handed_back"]) == ("requeue", True)
    assert bench.finishing.ended_as == ("requeued", "handed_back")


def test_an_objective_ends_its_study() -> None:
    bench = Bench()
    bench.channel.result = {"stop_study": True}
    assert bench.finish(COMPLETED)
    assert [name for name, _ in bench.store.calls] == ["finish", "finish"]
    assert bench.store.calls[1][1] == {"study": "s"}


class Code:
    """A study's code that comes when the test says so."""

    def __init__(self, *, endless: bool = False) -> None:
        self.endless = endless

    def folder(self, code: Any, *stores: Any, waiting: Any) -> str:
        import time

        while self.endless:
            waiting()
            time.sleep(0.01)
        return "/code"


def fetch(bench: Bench, code: Code) -> Any:
    bench.context.code = code
    reporter: Any = bench.reporter
    return CodeFetch(bench.record, bench.context, reporter, bench.stopping, lambda: bench.now).folder(None)


def test_code_is_fetched() -> None:
    assert fetch(Bench(), Code()) == "/code"


@pytest.mark.parametrize("why", ["stop", "shutdown", "stale"])
def test_code_that_nobody_waits_for(why: str) -> None:
    bench = Bench()
    if why == "stop":
        bench.reporter.stop = USER  # type: ignore[assignment]
    elif why == "shutdown":
        bench.hand_back_at = 0.0
    else:
        bench.reporter.stale = True
    with pytest.raises(ObjectiveLoadError):
        fetch(bench, Code(endless=True))
    wanted = {"stop": USER, "shutdown": SHUTTING_DOWN, "stale": None}[why]
    assert bench.stopping.request == wanted
    assert bench.stopping.hand_back == (why == "shutdown")
