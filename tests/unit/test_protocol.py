"""Statuses, summaries, records, events: what is pure in the contract."""

from __future__ import annotations

import json
import math

import pytest

from tests.fakes import record
from worker.protocol import FINISHED, Reason, Sign, Status, Summary, TaskRecord
from worker.protocol.errors import BadInput, RecordError
from worker.protocol.metrics import ObjectiveMetric, metric_key, split_key
from worker.protocol.queues import check_queue_name
from worker.protocol.record import TaskSpec, job_id
from worker.protocol.status import TRANSITIONS, allowed
from worker.protocol.stop_request import StopRequest


def test_nothing_follows_an_end() -> None:
    assert {status for status in Status if status.is_finished} == FINISHED
    assert all(not TRANSITIONS[status] for status in FINISHED)
    assert all(allowed(Status.IN_PROGRESS, status) for status in FINISHED)
    assert not allowed(Status.COMPLETED, Status.QUEUED)


@pytest.mark.parametrize("reason", list(Reason))
def test_every_reason_has_a_final_status(reason: Reason) -> None:
    failed = {"objective_error", "out_of_memory", "invalid_value", "worker_lost", "launch_error"}
    failed |= {"disk_full", "store_away", "machine_fault"}
    assert reason.status is (Status.FAILED if reason.value in failed else Status.STOPPED)


@pytest.mark.parametrize(
    ("key", "parts"),
    [("accuracy/validation", ("accuracy", "validation")), ("loss", ("loss", "")), ("a/b/c", ("a/b", "c"))],
)
def test_metric_names(key: str, parts: tuple[str, str]) -> None:
    assert split_key(key) == parts
    assert metric_key(*parts) == key


def test_a_summary_counts_iterations_as_they_rise() -> None:
    summary = Summary.of("t", "s")
    for value, iteration in ((3.0, 0), (1.0, 5), (2.0, 5), (4.0, 3), (0.5, 6)):
        summary = summary.add(value, iteration)
    assert (summary.last, summary.min, summary.max) == (0.5, 0.5, 4.0)
    assert (summary.count, summary.last_iteration, summary.iterations) == (5, 6, 3)


def test_values_that_are_not_finite_stay_out_of_min_and_max() -> None:
    summary = Summary.of("t", "").add(math.nan, 0)
    assert math.isnan(summary.value(Sign.MIN_GLOBAL))
    summary = summary.add(2.0, 1).add(math.inf, 2)
    assert (summary.min, summary.max, summary.last) == (2.0, 2.0, math.inf)
    read = Summary.from_list(summary.to_list())
    assert read == summary


def test_a_returned_value_is_no_iteration_of_its_own() -> None:
    summary = Summary.of("t", "").add(3.0, 0).add(2.0, 1).with_final(1.0)
    assert (summary.last, summary.min, summary.count, summary.iterations) == (1.0, 1.0, 2, 2)
    assert Summary.of("t", "").with_final(1.0).iterations == 1


@pytest.mark.parametrize("data", [None, [], ["t", "s"], ["t", "s", "x", 0, 0, 0, 0, 0], {"a": 1}])
def test_a_malformed_summary_is_refused(data: object) -> None:
    with pytest.raises(RecordError, match="summary"):
        Summary.from_list(data)


def test_a_sign_must_be_known() -> None:
    with pytest.raises(BadInput, match="min_global"):
        ObjectiveMetric.from_dict({"title": "t", "series": "s", "sign": "best"})


def test_a_record_survives_its_encoding() -> None:
    task = record(
        stop=StopRequest(reason_class=Reason.PRUNED, reason="no hope"),
        started_at=3.25,
        reason_class=Reason.PRUNED,
        iterations=4,
        spec=TaskSpec(
            objective={"kind": "command", "argv": ["a"]}, tags=("x",), optional=("y",), time_limit_s=1.5
        ),
    )
    encoded = {key: str(value) for key, value in task.encode().items()}
    assert TaskRecord.decode(encoded) == task


def test_job_ids_are_what_rq_accepts() -> None:
    identifier = job_id("0" * 32, 3)
    assert identifier == "0" * 32 + "-3"
    assert all(char.isalnum() or char in "-_" for char in identifier)


@pytest.mark.parametrize("name", ["", "a b", "-x", "ä", "a" * 101, "x:y"])
def test_queue_names_that_rq_would_stumble_over(name: str) -> None:
    with pytest.raises(BadInput, match="queue name"):
        check_queue_name(name)


def test_queue_names_that_are_fine() -> None:
    assert check_queue_name("gpu.80gb_x-1") == "gpu.80gb_x-1"


def test_a_seed_stands_beside_the_spec_for_older_workers() -> None:
    """These refuse a spec with a key that they don't know."""
    record = TaskRecord(id="a" * 32, name="", spec=TaskSpec(seed=7), created_at=1.0)
    fields = {name: str(value) for name, value in record.encode().items()}
    assert "seed" not in json.loads(fields["spec"])
    assert TaskRecord.decode(fields) == record
    earlier = {**fields, "spec": record.spec.encode()}
    del earlier["seed"]
    assert TaskRecord.decode(earlier).seed == 7
