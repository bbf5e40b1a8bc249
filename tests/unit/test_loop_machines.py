"""Faults of the workers' machines, as the loop sees them."""

from __future__ import annotations

import itertools
import time
from pathlib import Path

import pytest

from controller.loop.budget import Budget
from controller.loop.control import Control
from controller.loop.ending import Ending
from controller.loop.launching import Launching
from controller.loop.machines import Machines
from controller.loop.quarantine import NodeQuarantine
from controller.loop.telling import Telling
from controller.results.status import describe_study
from controller.search.tried import NOT_RUN
from tests.loop_parts import STUDY, LoopParts
from worker.protocol import Reason, Status, StudyState
from worker.protocol.host import slot_faults

FULL = "disk_full: OSError: No space left on device (/data); free space there, or mend the disk"


@pytest.fixture
def parts(redis_url: str, tmp_path: Path) -> LoopParts:
    return LoopParts(redis_url, tmp_path, budget=Budget(10, max_failures=2))


class Node:
    """A worker of the queue, as it registers itself."""

    def __init__(self, parts: LoopParts, name: str) -> None:
        self._store = parts.store
        self.name = name
        self._store.workers.register(name, {"queues": "default", "slots": 1, "state": "running"}, 60.0)

    def falls_ill(self, seconds: float = 60.0, advice: str = FULL) -> None:
        self._store.workers.show_fault(f"{self.name}/0", time.time() + seconds, "disk_full", advice)

    def is_well(self) -> None:
        self._store.workers.pause(self.name, 0.0, "")


_now = itertools.count(1000, 10)


def look(parts: LoopParts, machines: Machines) -> None:
    parts.fleet.look(float(next(_now)))
    machines.look()


def test_one_of_two_nodes(parts: LoopParts) -> None:
    machines = Machines(parts.state, parts.requests, parts.fleet, parts.observer)
    ill, _ = Node(parts, "ill"), Node(parts, "well")
    look(parts, machines)
    ill.falls_ill()
    for _ in range(2):
        look(parts, machines)
    assert parts.observer.notes == [f"worker ill takes no jobs until this is mended: {FULL}"]
    assert (parts.state.held, parts.state.status, parts.fleet.slots) == ("", StudyState.RUNNING, 1)
    ill.is_well()
    look(parts, machines)
    assert parts.observer.notes[1:] == ["worker ill takes jobs again"]
    assert parts.fleet.slots == 2


def test_all_nodes_pause_the_study_until_one_is_well(parts: LoopParts) -> None:
    machines = Machines(parts.state, parts.requests, parts.fleet, parts.observer)
    launching = Launching(parts.context, parts.fleet, parts.tracker)
    ending = Ending(parts.context, launching, parts.tracker, parts.progress)
    nodes = [Node(parts, "a"), Node(parts, "b")]
    for node in nodes:
        node.falls_ill()
    look(parts, machines)
    assert parts.state.status == StudyState.PAUSED
    assert parts.observer.notes[2:] == [
        f"paused: no worker can run anything: {FULL}. Mend it; the study goes on by itself"
    ]
    assert launching.create() is None
    assert ending.go_on()  # nothing runs, and the search does not end
    assert parts.fleet.empty_since is None  # nor is the queue without workers
    parts.progress.save()
    assert parts.store.studies.get(STUDY).reason == parts.state.held
    # A person's word does not change what the machines say.
    parts.store.studies.request(STUDY, "resume")
    Control(parts.context, parts.progress).take()
    look(parts, machines)
    assert parts.state.status == StudyState.PAUSED
    nodes[1].is_well()
    look(parts, machines)
    assert (parts.state.status, parts.state.reason, parts.state.held) == (StudyState.RUNNING, "", "")
    assert parts.observer.notes[-1] == "resumed: a worker takes jobs again"
    assert launching.create() is not None


def test_a_person_who_paused_it_has_to_resume_it(parts: LoopParts) -> None:
    machines = Machines(parts.state, parts.requests, parts.fleet, parts.observer)
    node = Node(parts, "a")
    node.falls_ill()
    look(parts, machines)
    parts.requests.paused = True
    node.is_well()
    look(parts, machines)
    assert (parts.state.status, parts.state.held) == (StudyState.PAUSED, "")


def test_a_pause_of_the_controllers_is_no_fault_of_the_machines(parts: LoopParts) -> None:
    machines = Machines(parts.state, parts.requests, parts.fleet, parts.observer)
    Node(parts, "a").falls_ill()
    parts.store.workers.pause("a", time.time() + 600.0, "3 configurations failed")
    look(parts, machines)
    assert parts.state.held == ""


def test_a_device_of_one_slot_is_not_the_whole_node(parts: LoopParts) -> None:
    machines = Machines(parts.state, parts.requests, parts.fleet, parts.observer)
    about = {"queues": "default", "slots": 2, "state": "running"}
    parts.store.workers.register("a", about, 60.0)
    advice = "machine_fault: GPU is lost; see to the node's GPU"
    for slot, held in (("a/0", False), ("a/1", True)):
        parts.store.workers.show_fault(slot, time.time() + 60.0, "machine_fault", advice, alone=True)
        look(parts, machines)
        assert bool(parts.state.held) is held
        assert parts.store.workers.paused_until("a") == 0.0
    (shown,) = describe_study(parts.store, STUDY)["workers"]
    assert shown["reason"] == f"slot 0 takes no jobs: {advice}; slot 1 takes no jobs: {advice}"
    # What somebody else wrote there is no fault.
    assert slot_faults({"fault:0": "x", "fault:1": "[1", "fault:2": "{}", "fault:3": "[9e9]"}, 0.0) == {}


def test_a_longer_pause_stays(parts: LoopParts) -> None:
    node = Node(parts, "a")
    until = time.time() + 600.0
    parts.store.workers.pause("a", until, "3 configurations failed")
    node.falls_ill(5.0)
    assert parts.store.workers.paused_until("a") == until


@pytest.mark.parametrize("reason", [reason for reason in Reason if reason.is_machine_fault])
def test_a_trial_that_the_machine_has_ended_is_no_failure(parts: LoopParts, reason: Reason) -> None:
    told = Telling(parts.context, parts.tracker, on_ended=lambda job: None)
    quarantine = NodeQuarantine()
    for _ in range(3):
        job = parts.running()
        parts.finish(job, Status.FAILED, reason)
        parts.tracker.refresh([job.task_id()])
        parts.tracker.monitor_due()
        assert quarantine.ended(job.record, ["w", "other"], lambda: ["other"]) is None
    told.tell_ended()
    assert parts.budget.failures.used == 0
    assert parts.budget.exceeded() is None
    assert parts.budget.jobs.used == 3  # so that a study of which all is lost ends
    assert [trial.user_attrs.get(NOT_RUN) for trial in parts.study.trials] == [True] * 3


def test_other_failures_count(parts: LoopParts) -> None:
    for _ in range(2):
        job = parts.running()
        parts.finish(job, Status.FAILED, Reason.OUT_OF_MEMORY)
        parts.tracker.refresh([job.task_id()])
        parts.tracker.monitor_due()
    assert parts.budget.exceeded() is not None
