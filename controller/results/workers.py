"""The workers as values: hosts, slots, what they run since when, GPUs, queues, who is paused and why."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence, Set
from dataclasses import asdict, replace
from typing import Any

import redis

from controller.results.status import why_idle, worker_status
from worker.protocol import Status, Store, TaskRecord, keys
from worker.protocol.clock import iso
from worker.protocol.errors import BadInput
from worker.protocol.gpu_status import unpack
from worker.protocol.host import takes_jobs
from worker.protocol.queues import check_queue_name

MOST_QUEUES = 200
"""Queues that are counted: workers say themselves which they serve."""
MOST_SLOTS_SHOWN = 256
"""Slots of one worker that are shown one by one."""


def describe_workers(store: Store) -> dict[str, Any]:
    """All live workers and queues, as JSON types.

    Returns:
        ``workers``: by name, each with its host, state, reason, ``held`` and ``slots`` (``number``, ``task``,
        ``study``, ``trial``, ``since``, ``seconds``); ``hosts``: sums by host; ``queues``: by name, each with
        how many jobs wait (None where this Redis user may not look), workers, slots, busy slots, studies.
    """
    now = store.clock.now()
    registrations = store.workers.list()
    studies = store.studies.going_on()
    tasks = _running(store, registrations, studies.keys())
    idle = _idle_reasons(store, studies)
    workers = [_worker(registration, now, tasks, idle) for registration in registrations]
    return {
        "workers": workers,
        "hosts": _hosts(workers),
        "queues": _queues(store, workers, studies),
        "slots": sum(worker["slot_count"] for worker in workers),
        "busy": sum(worker["busy"] for worker in workers),
    }


def _running(
    store: Store, registrations: Sequence[Mapping[str, str]], studies: Set[str]
) -> dict[str, TaskRecord]:
    """The records of what the slots say that they run; without a study where that doesn't list them."""
    said = {
        task
        for about in registrations
        for field, task in about.items()
        if field.startswith("slot:") and re.fullmatch("[0-9a-f]{32}", task)
    }
    records = {record.id: record for record in store.tasks.get_many(sorted(said)) if record is not None}
    own: set[str] = set()
    for name in {record.study for record in records.values()} & studies:
        own.update(store.studies.own(name, [each.id for each in records.values() if each.study == name]))
    return {each.id: each if each.id in own else replace(each, study="") for each in records.values()}


def _idle_reasons(store: Store, studies: Mapping[str, str]) -> dict[str, str]:
    """Queue → why its newest study that goes on leaves workers without jobs.

    Args:
        studies: name → queue.
    """
    found: dict[str, str] = {}
    for name, queue in studies.items():
        record = store.studies.find(name) if queue not in found else None
        if record is not None:
            found[queue] = why_idle(store, record)
    return found


def _worker(
    registration: Mapping[str, str], now: float, tasks: Mapping[str, TaskRecord], idle: Mapping[str, str]
) -> dict[str, Any]:
    queues = [queue for queue in registration.get("queues", "").split(",") if queue]
    reason = next((idle[queue] for queue in queues if queue in idle), "no study that uses its queue goes on")
    about = worker_status(registration, now, reason)
    count = int(registration.get("slots", 0))
    slots = [_slot(registration, number, tasks, now) for number in range(min(count, MOST_SLOTS_SHOWN))]
    return {
        "worker": about["worker"],
        "host": about["host"],
        "state": about["state"],
        "reason": about["reason"],
        "held": registration.get("hold", ""),
        "takes_jobs": takes_jobs(registration, now),
        "slot_count": count,
        "busy": about["busy"],
        "slots": slots,
        "queues": queues,
        "gpus": [{**asdict(gpu), "text": str(gpu)} for gpu in unpack(registration.get("gpus", ""))],
        "version": registration.get("version", ""),
        "pid": registration.get("pid", ""),
    }


def _slot(
    registration: Mapping[str, str], number: int, tasks: Mapping[str, TaskRecord], now: float
) -> dict[str, Any]:
    """One slot: what it runs, and since when."""
    record = tasks.get(registration.get(f"slot:{number}", ""))
    if record is None or record.status is not Status.IN_PROGRESS:
        return {"number": number, "task": "", "study": "", "trial": None, "since": None, "seconds": None}
    return {
        "number": number,
        "task": record.id,
        "study": record.study,
        "trial": record.trial if record.study else None,
        "name": record.name,
        "since": iso(record.started_at),
        "seconds": None if record.started_at is None else max(0.0, now - record.started_at),
    }


def _hosts(workers: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Sums by host."""
    found: dict[str, dict[str, Any]] = {}
    for worker in workers:
        host = found.setdefault(
            worker["host"], {"host": worker["host"], "workers": 0, "slots": 0, "busy": 0, "gpus": {}}
        )
        host["workers"] += 1
        host["slots"] += worker["slot_count"]
        host["busy"] += worker["busy"]
        # Several workers of a host see the same devices.
        host["gpus"].update({gpu["number"]: gpu for gpu in worker["gpus"]})
    return [{**host, "gpus": list(host["gpus"].values())} for _, host in sorted(found.items())]


def _queues(
    store: Store, workers: Sequence[Mapping[str, Any]], studies: Mapping[str, str]
) -> list[dict[str, Any]]:
    names = {queue for worker in workers for queue in worker["queues"]} | set(studies.values())
    known = sorted(name for name in names if _is_queue(name))[:MOST_QUEUES]
    with store.redis.pipeline(transaction=False) as pipe:
        for name in known:
            pipe.llen(f"{keys.RQ}queue:{name}")
        lengths = pipe.execute(raise_on_error=False)
    found = []
    for name, length in zip(known, lengths, strict=True):
        if isinstance(length, redis.ConnectionError):
            raise length
        serving = [worker for worker in workers if name in worker["queues"]]
        found.append(
            {
                "queue": name,
                "waiting": length if isinstance(length, int) else None,
                "workers": len(serving),
                "slots": sum(worker["slot_count"] for worker in serving if worker["takes_jobs"]),
                "busy": sum(worker["busy"] for worker in serving),
                "studies": [study for study, queue in studies.items() if queue == name],
            }
        )
    return found


def _is_queue(name: str) -> bool:
    try:
        check_queue_name(name)
    except BadInput:
        return False
    return True
