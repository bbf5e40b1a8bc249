"""What a program's end means: a pure judgement from exit code, result, stop request and reports."""

from __future__ import annotations

import math
import signal
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

from worker.process.channel import Message
from worker.process.out_of_memory import of_gpu
from worker.protocol.batch import Point
from worker.protocol.clock import STEADY
from worker.protocol.errors import ObjectiveLoadError
from worker.protocol.faults import Fault, fault_from, fault_in, fault_of
from worker.protocol.metrics import ObjectiveMetric, Summary, split_key
from worker.protocol.record import TaskRecord
from worker.protocol.status import Reason, Status
from worker.protocol.stop_request import StopRequest
from worker.slot.output import failure_lines, failure_text

_FAILURES = {
    "error": Reason.OBJECTIVE_ERROR,
    "out_of_memory": Reason.OUT_OF_MEMORY,
    "invalid_value": Reason.INVALID_VALUE,
}
"""What a runner says of a failure → its class."""
_NO_MEMORY = "[Errno 12]"
_NO_MODULE = "ModuleNotFoundError: No module named"


@dataclass(frozen=True, kw_only=True)
class Ended:
    """How a program has ended, as far as its slot saw it."""

    result: Message | None = None
    """What a runner said; None when it said nothing, and for scripts and commands."""
    exit_code: int | None = None
    """Of the process, negative for a signal; None when a runner lives on."""
    request: StopRequest | None = None
    """What the program was asked before it ended."""
    mark: Message | None = None
    """What the program itself has said of its end: ``status`` and ``reason``."""
    load_error: ObjectiveLoadError | None = None
    fault: Fault | None = None
    """The slot itself met it: the program could not be started, or not be watched any more."""
    killed: bool = False
    """The slot killed it."""
    out_of_memory: bool = False
    """The kernel killed something for want of memory meanwhile."""
    over_memory: str = ""
    """What it used and what it may use, if the slot killed it for that."""
    tail: bytes = b""
    """The end of the program's output."""


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """The final status and why."""

    status: Status
    reason_class: Reason | None = None
    reason: str = ""
    error: str = ""
    interrupted: bool = False
    """It ended because it was asked to, not by itself."""
    fault: Fault | None = None
    """The machine's, where that is why it has failed."""


class Reports(Protocol):
    """What was reported, and a way to add the returned values to it."""

    @property
    def reported(self) -> list[str]: ...

    def summary(self, key: str) -> Summary | None: ...

    def add(self, point: Point) -> None: ...


def judge(record: TaskRecord, ended: Ended, reports: Reports) -> Outcome:
    """How the attempt has ended. Values that the program returned are added to `reports`."""
    if ended.load_error:
        failed = _failed(Reason.LAUNCH_ERROR, str(ended.load_error))
        return _blamed(failed, fault_of(ended.load_error, starting=True))
    if ended.over_memory:
        return _failed(Reason.OUT_OF_MEMORY, ended.over_memory)
    result = ended.result or {}
    kind = result.get("kind")
    if kind == "load_error":
        failed = _failed(Reason.LAUNCH_ERROR, str(result["reason"]), str(result.get("error", "")))
        return _blamed(failed, _told_fault(result))
    if ended.mark and not ended.request:
        return _marked(record, ended.mark, reports)
    by_itself = kind == "ok" or (ended.result is None and ended.exit_code == 0)
    # A program that was asked to stop and then ended quietly has heard; one that returned a value was done.
    if by_itself and (not ended.request or result.get("ordered") or result.get("values")):
        return _completed(record, result, reports)
    if ended.request:
        return Outcome(
            status=ended.request.reason_class.status,
            reason_class=ended.request.reason_class,
            reason=ended.request.reason + (" (killed after its grace period)" if ended.killed else ""),
            interrupted=True,
        )
    if ended.fault:
        return _blamed(_failed(Reason.LAUNCH_ERROR, ended.fault.reason), ended.fault)
    if kind == "stopped":
        # Nobody asked: the objective has given up by itself.
        reason_class = Reason.PRUNED if result.get("class") == "pruned" else Reason.USER
        return Outcome(status=Status.STOPPED, reason_class=reason_class, reason=str(result.get("reason", "")))
    if kind in _FAILURES:
        failed = _failed(_FAILURES[kind], str(result["reason"]), str(result.get("error", "")))
        return _blamed(failed, _told_fault(result))
    return _died(ended)


def _blamed(outcome: Outcome, fault: Fault | None) -> Outcome:
    """The same failure, put down to a fault of the machine's where there is one."""
    if fault is None:
        return outcome
    fault = replace(fault, reason=outcome.reason)
    return replace(outcome, reason_class=fault.reason_class, fault=fault)


def _told_fault(result: Message) -> Fault | None:
    """The machine's fault that a runner has told of."""
    return fault_from(result["fault"], str(result["reason"])) if result.get("fault") else None


def _marked(record: TaskRecord, mark: Message, reports: Reports) -> Outcome:
    """The program has called `Task.mark_completed`, `mark_failed` or `mark_stopped`."""
    reason = str(mark.get("reason", ""))
    if mark.get("status") == Status.COMPLETED.value:
        return _completed(record, {}, reports)
    if mark.get("status") == Status.FAILED.value:
        return _failed(Reason.OBJECTIVE_ERROR, reason)
    return Outcome(status=Status.STOPPED, reason_class=Reason.USER, reason=reason)


def _died(ended: Ended) -> Outcome:
    """The process has ended without a word."""
    code = ended.exit_code or 0
    last, shown = failure_text(ended.tail)
    if code < 0:
        try:
            name = signal.Signals(-code).name
        except ValueError:
            name = f"signal {-code}"
        if -code == signal.SIGKILL and ended.out_of_memory:
            return _failed(Reason.OUT_OF_MEMORY, "killed by the system for want of memory", shown)
        failed = _failed(Reason.OBJECTIVE_ERROR, f"its process was killed by {name}", shown)
        return failed if -code == signal.SIGKILL else _blamed(failed, fault_in(last))
    reason = f"exited with code {code}" + (f": {last}" if last else "")
    fault = next(filter(None, map(fault_in, failure_lines(ended.tail))), None)
    if fault is None and (last.startswith("MemoryError") or of_gpu(last) or _NO_MEMORY in last):
        return _failed(Reason.OUT_OF_MEMORY, reason[:500], shown)
    return _blamed(_failed(Reason.OBJECTIVE_ERROR, reason[:500], shown), fault)


def _completed(record: TaskRecord, result: Message, reports: Reports) -> Outcome:
    """It ended by itself: usable if every objective has a finite value."""
    metrics = record.spec.metrics
    if record.spec.check_only:
        return Outcome(status=Status.COMPLETED)
    ordered = result.get("ordered", ())
    if metrics and ordered and len(ordered) != len(metrics):
        return _failed(
            Reason.INVALID_VALUE,
            f"the objective returned {len(ordered)} value(s), but the study has {len(metrics)} objective(s)",
        )
    values = dict(result.get("values", {}))
    values.update({metric.key: value for metric, value in zip(metrics, ordered, strict=False)})
    at = STEADY.now()
    for key, value in values.items():
        title, series = _split(metrics, key)
        last = reports.summary(key)
        if last is None or not _same(last.last, value):
            iteration = last.last_iteration if last else 0
            point = Point(
                title=title, series=series, value=value, iteration=iteration, at=at, is_final=last is not None
            )
            reports.add(point)
    for metric in metrics:
        summary = reports.summary(metric.key)
        if summary is None:
            said = ", ".join(reports.reported) or "nothing"
            return _failed(
                Reason.INVALID_VALUE, f"ended without a value for {metric.key!r}; it reported {said}"
            )
        if not math.isfinite(summary.value(metric.sign)):
            return _failed(Reason.INVALID_VALUE, f"{metric.key!r} ended as {summary.value(metric.sign)}")
    return Outcome(status=Status.COMPLETED)


def _split(metrics: tuple[ObjectiveMetric, ...], key: str) -> tuple[str, str]:
    for metric in metrics:
        if metric.key == key:
            return metric.title, metric.series
    return split_key(key)


def _same(a: float, b: float) -> bool:
    return a == b or (math.isnan(a) and math.isnan(b))


def _failed(reason_class: Reason, reason: str, error: str = "") -> Outcome:
    return Outcome(status=Status.FAILED, reason_class=reason_class, reason=reason, error=error)


def in_users_words(outcome: Outcome, record: TaskRecord, folder: Path) -> str:
    """The reason, with what else is missing here, and without a folder that only this worker knows.

    Args:
        folder: that the program ran in.
    """
    reason = outcome.reason
    if _NO_MODULE in reason and record.spec.objective.get("kind") != "command":
        from worker.runner.requirements import also_missing  # noqa: PLC0415 - hardly ever needed

        reason += also_missing(folder)
    if record.spec.code and outcome.reason_class is Reason.LAUNCH_ERROR:
        reason = reason.replace(str(folder), "[code]")
    return reason
