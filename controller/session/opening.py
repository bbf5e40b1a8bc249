"""What an optimizer needs around its loop when a program, not `controller start`, makes it: a name, the lock,
the study's record, and local workers where nobody else serves the queue."""

from __future__ import annotations

import hashlib
import itertools
import json
import os
from collections.abc import Sequence
from dataclasses import replace
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any

from controller.loop.backend import Backend
from controller.search.parameters import Parameter
from controller.session.lock import StudyLock
from worker.protocol import ObjectiveMetric, StudyRecord, StudyState, TaskRecord
from worker.protocol.errors import BadInput
from worker.protocol.values import full

if TYPE_CHECKING:
    from controller.api.strategy import SearchStrategy
    from controller.session.local_workers import LocalWorkers

_ENDED = (StudyState.COMPLETED, StudyState.STOPPED, StudyState.FAILED)


class Opening:
    """Opens one study for one strategy, and closes it again."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend
        self._lock: StudyLock | None = None
        self._workers: LocalWorkers | None = None

    def open(self, strategy: SearchStrategy) -> bool:
        """Have the study ready to be acted on. False when the strategy was stopped meanwhile.

        Raises:
            BadInput: the study exists with another search space, or Optuna's storage can't be used.
        """
        name = strategy._study
        if name:
            self._lock = StudyLock(self._backend.store, name)
            held = self._lock.acquire(
                wait=True,
                on_wait=lambda holder: strategy._observer.note(
                    f"controller {holder} acts on study {name!r}; standing by to take over"
                ),
                stopped=strategy._stop_asked.is_set,
            )
            if not held:
                self._lock = None
                return False
        else:
            name, self._lock = self._free_name(strategy)
        strategy._study, strategy._lock = name, self._lock
        search = strategy._open_search(name)
        self._register(strategy, name)
        strategy._search = search
        self._workers = self._local_workers(strategy)
        if self._workers:
            self._workers.start()
            strategy._observer.workers = self._workers
        return True

    def close(self) -> None:
        """Let go of what `open` took."""
        if self._workers:
            self._workers.stop()
        if self._lock:
            self._lock.release()

    def _free_name(self, strategy: SearchStrategy) -> tuple[str, StudyLock]:
        """A name that no study has, made of the optimizer's task or the base task, and the lock on it."""
        store = self._backend.store
        base = self._backend.base_task(strategy._base_task_id)
        stem = getattr(strategy._optimizer_task, "name", "") or base.name or "optimization"
        for number in itertools.count(1):
            name = stem if number == 1 else f"{stem} {number}"
            if store.find_study(name) is not None or strategy._is_taken(name):
                continue
            lock = StudyLock(store, name)
            # Another program may look for a name at this very moment.
            if lock.acquire(wait=False, on_wait=lambda holder: None, stopped=lambda: False):
                if store.find_study(name) is None:
                    return name, lock
                lock.release()
        raise AssertionError("unreachable")

    def _register(self, strategy: SearchStrategy, name: str) -> None:
        """Write the study's record, or bring it up to date."""
        store, now = self._backend.store, self._backend.clock.now()
        metrics = strategy._objective_metric.metrics
        space = {p.name: p.to_dict() for p in strategy._hyper_parameters}
        mark = fingerprint(metrics, strategy._hyper_parameters)
        known = store.find_study(name)
        if known is not None and known.fingerprint != mark and not strategy._continues:
            raise BadInput(
                f"study {name!r} exists with another search space; give this one another study_name"
            )
        record = known or StudyRecord(name=name, created_at=now, metrics=metrics)
        since = record.budget_since
        budget = record.budget
        if known is not None and strategy._continues and known.state in _ENDED:
            since, budget = now, {}
        store.save_study(
            replace(
                record,
                metrics=metrics,
                queue=strategy._execution_queue,
                storage=strategy._storage_shown(),
                artifacts=self._backend.artifacts_url,
                fingerprint=mark,
                sweep={"study": {"name": name}, "parameters": space},
                base_task="",  # it is the program's own, and outlives the study
                state=StudyState.RUNNING,
                reason="",
                ended_at=None,
                controller=self._lock.name if self._lock else "",
                budget=budget,
                budget_since=since,
            )
        )

    def _local_workers(self, strategy: SearchStrategy) -> LocalWorkers | None:
        """Workers of our own, if asked for or if nobody else can come."""
        from controller.session.local_workers import LocalWorkers

        home, queue = self._backend.home, strategy._execution_queue
        count = strategy._local_workers
        if count is None:
            if home.embedded is None or self._backend.store.workers(queue):
                return None
            count = min(os.cpu_count() or 1, strategy.budget.max_concurrent or 1_000)
        if not count:
            return None
        return LocalWorkers(
            count,
            redis_url=home.redis_url,
            artifacts_url=self._backend.artifacts_url,
            storage_url=self._backend.storage_url,
            queue=queue,
            folder=home.folder,
            log_folder=home.folder / ".optuna-rq" / "workers",
            keep_alive=home.embedded.lock_fd if home.embedded else None,
        )


def fingerprint(metrics: Sequence[ObjectiveMetric], parameters: Sequence[Parameter]) -> str:
    """SHA-256 (hex) of metrics and search space: what makes two optimizations the same study."""
    described: dict[str, Any] = {
        "metrics": [metric.to_dict() for metric in metrics],
        "parameters": sorted((p.to_dict() for p in parameters), key=lambda data: str(data["name"])),
    }
    return hashlib.sha256(json.dumps(described, sort_keys=True).encode()).hexdigest()


def check_base_task(base: TaskRecord, parameters: Sequence[Parameter], *, allow_new_parameters: bool) -> None:
    """The base task can be run, and has the parameters that are searched.

    What a function or a command takes is checked where it is run. A script's parameters are known once it
    was run by hand.

    Raises:
        BadInput: it has nothing to run, or lacks parameters; one line for each, with the nearest name.
    """
    names = [full(name) for parameter in parameters for name in parameter.names]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise BadInput(*(f"hyper_parameters: {name} is given twice" for name in twice))
    if not base.spec.objective:
        raise BadInput(
            f"base task {base.id} ({base.name}): nothing is known that a worker could run; run its script "
            "once by hand, not from a notebook"
        )
    if allow_new_parameters or base.spec.objective.get("kind") != "script" or base.started_at is None:
        return
    known = [full(name) for name in base.spec.parameters]
    problems = []
    for name in (name for parameter in parameters for name in parameter.names):
        if full(name) in known:
            continue
        near = get_close_matches(full(name), known, n=1, cutoff=0.5)
        if near:
            hint = f"did you mean {near[0]!r}?"
        elif known:
            hint = f"it has {', '.join(known)}"
        else:
            hint = "it has none: connect them in its script with task.connect"
        problems.append(
            f"parameter {name!r}: base task {base.name!r} has no such parameter; {hint} "
            "(allow_new_parameters=True lets it pass)"
        )
    if problems:
        raise BadInput(*problems)
