"""The one way to open a study, for sweep files and programs: name, lease, record, local workers."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import TracebackType
from typing import Any

from controller.loop.backend import Backend
from controller.loop.observer import Observer
from controller.search.parameters import Parameter
from controller.session.environment import note_surroundings, note_workers, versions
from controller.session.fingerprint import fingerprint, is_same
from controller.session.local_workers import LocalWorkers, default_count, local_workers
from controller.session.lock import LEASE_S, StudyLock
from controller.sweep import describe_difference
from worker.artifacts import open_store
from worker.protocol import ObjectiveMetric, StudyRecord, StudyState, TaskRecord
from worker.protocol.errors import BadInput
from worker.protocol.study_log import LogEntry, LogKind

ENDED = (StudyState.COMPLETED, StudyState.STOPPED, StudyState.FAILED)


@dataclass(frozen=True, kw_only=True)
class StudyDefinition:
    """What a study is, whether a sweep file or a program describes it."""

    name: str = ""
    """Empty for a free name made of `stem`."""
    stem: str = "optimization"
    is_taken: Callable[[str], bool] = lambda name: False
    """Whether Optuna's storage has a study of that name already."""
    metrics: Sequence[ObjectiveMetric]
    parameters: Sequence[Parameter]
    queue: str
    storage: str
    """Where Optuna's trials are, without a password; empty when there are none."""
    sweep: Mapping[str, Any] | None = None
    """The sweep file as a dict; None for a program."""
    old_fingerprint: str = ""
    """What version 0.1 wrote for this sweep file; empty for a program."""
    name_option: str = "study_name"
    """What gives the study another name, for messages."""
    continues: bool = False
    """Continue a study that has ended, with a budget of its own."""
    lease_s: float = LEASE_S
    """A controller that was silent for so long has lost the study, in seconds."""

    def described(self, name: str) -> dict[str, Any]:
        """The description that the study's record keeps."""
        if self.sweep is not None:
            return dict(self.sweep)
        return {"study": {"name": name}, "parameters": {p.name: p.to_dict() for p in self.parameters}}


@dataclass
class StudySession:
    """A study while one controller acts on it. Leaving it ends the local workers and releases the lease.

    Args:
        observer: is told who else acts on the study.
        stopped: whether to give up waiting for it.
        on_wait: called once when another controller acts on it.
        hand_back: whether leaving has the workers hand back what they run, rather than finish it.
    """

    backend: Backend
    definition: StudyDefinition
    observer: Observer
    stopped: Callable[[], bool]
    on_wait: Callable[[], None] = lambda: None
    hand_back: Callable[[], bool] = lambda: False
    name: str = field(init=False)
    """Of the study; final once `acquire` returned True."""
    lock: StudyLock | None = field(default=None, init=False)
    """The lease on the study; None while it has no name."""
    stood_by: bool = field(default=False, init=False)
    """Another controller acted on the study when this one came."""
    workers: LocalWorkers | None = field(default=None, init=False)

    def __post_init__(self) -> None:
        self.name = self.definition.name
        if self.name:
            self.lock = StudyLock(self.backend.store, self.name, self.definition.lease_s)

    def __enter__(self) -> StudySession:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self.lock and self.lock.held:
            note_workers(self.backend.store, self.name)
        if self.workers:
            self.workers.stop(at_once=self.hand_back())
        if self.lock:
            self.lock.release()

    # The lease

    def acquire(self) -> bool:
        """Take the lease; stand by while another controller has it. False when told to stop meanwhile."""
        if self.lock is not None:
            return self.lock.acquire(wait=True, on_wait=self._stand_by, stopped=self.stopped)
        self.name, self.lock = self._free_name()
        return True

    def _stand_by(self, holder: str) -> None:
        self.stood_by = True
        self.on_wait()
        self.observer.note(f"controller {holder} acts on study {self.name!r}; standing by to take over")

    def _free_name(self) -> tuple[str, StudyLock]:
        """A name that no study has, and the lease on it."""
        store, stem = self.backend.store, self.definition.stem
        for number in itertools.count(1):
            name = stem if number == 1 else f"{stem} {number}"
            if store.studies.find(name) is not None or self.definition.is_taken(name):
                continue
            lock = StudyLock(store, name, self.definition.lease_s)
            # Another program may look for a name at this very moment.
            if lock.acquire(wait=False, on_wait=lambda holder: None, stopped=lambda: False):
                if store.studies.find(name) is None:
                    return name, lock
                lock.release()
        raise AssertionError("unreachable")

    # The record

    def refuse_other_study(self) -> None:
        """A study of this name must have these metrics, this search space and this storage.

        Raises:
            BadInput: it has others; what differs, where that is known.
        """
        wanted = self.definition
        known = self.backend.store.studies.find(self.name)
        if known is None or wanted.continues:
            return
        is_old = bool(wanted.old_fingerprint) and known.fingerprint == wanted.old_fingerprint
        if not is_old and not is_same(known, wanted.metrics, wanted.parameters):
            raise BadInput(
                f"study {known.name!r} exists with another search space{_difference(known, wanted)}; "
                f"give this one another {wanted.name_option}"
            )
        if (wanted.sweep is not None or _from_sweep(known)) and known.storage != wanted.storage:
            raise BadInput(
                f"study {known.name!r} has its trials in {known.storage}, not in {wanted.storage or 'none'}; "
                f"set OPTUNA_STORAGE to where they are, or give this one another {wanted.name_option}"
            )

    def register(self, base_task: TaskRecord | None = None) -> None:
        """Write the study's record, or bring it up to date.

        Args:
            base_task: the study's own, which is written, too; a program's outlives the study.
        """
        store, now, wanted = self.backend.store, self.backend.clock.now(), self.definition
        known = store.studies.find(self.name)
        if base_task is not None:
            if known is not None:
                store.tasks.delete(base_task.id)
            store.tasks.create(base_task)
            self.backend.know_base_task(base_task)
        artifacts = _absolute(self.backend.artifacts_url)
        record = known or StudyRecord(name=self.name, created_at=now, metrics=tuple(wanted.metrics))
        # What a sweep file says of its study stays, also while a program continues it.
        keeps = wanted.sweep is None and _from_sweep(record)
        if record.state in ENDED:
            # Whatever has made its first trials fail may be mended now.
            record = replace(record, judged_from=store.studies.next_trial(self.name))
        if wanted.continues and record.state in ENDED:
            record = replace(record, budget_since=now, budget={})
            store.changes.forget_edits(self.name, store.changes.all_edits(self.name))
        store.studies.save(
            replace(
                record,
                metrics=tuple(wanted.metrics),
                queue=wanted.queue,
                storage=wanted.storage,
                artifacts=artifacts,
                signed=self.backend.store.tasks.sealing is not None,
                artifact_stores=_stores_before(record, artifacts),
                fingerprint=fingerprint(wanted.metrics, wanted.parameters),
                sweep=record.sweep if keeps else wanted.described(self.name),
                base_task=base_task.id if base_task is not None else record.base_task,
                state=StudyState.RUNNING,
                reason="",
                ended_at=None,
                environment={**record.environment, "versions": versions()},
                controller=self.lock.name if self.lock else "",
            )
        )

        changed = note_surroundings(store, self.name, self.backend.home.folder)
        self._log_start("begins" if known is None else "continues", changed)

    def _log_start(self, what: str, changed: str) -> None:
        kind = LogKind.TAKEOVER if self.stood_by else LogKind.START
        more = ", after it stood by" if self.stood_by else ""
        by = self.lock.name if self.lock else ""
        entry = LogEntry(
            at=self.backend.clock.now(), kind=kind.value, text=f"{what} the study{more}{changed}", by=by
        )
        self.backend.store.study_log.add(self.name, entry)

    # Workers

    def start_workers(self, count: int | None, max_concurrent: int | None = None) -> None:
        """Start local workers of one slot each. Raises `OSError` when the system refuses.

        Args:
            count: how many; None for as many as it takes where nobody else serves the queue.
            max_concurrent: jobs at a time.
        """
        if count is None:
            count = default_count(self.backend, self.definition.queue, max_concurrent)
            if not count:
                return
        self.workers = local_workers(self.backend, count, self.definition.queue)
        self.workers.start()
        self.observer.workers = self.workers


def _absolute(artifacts: str) -> str:
    """URL of an artifact store, also of a path that depends on this process' folder."""
    return artifacts if "://" in artifacts else open_store(artifacts).url


def _stores_before(record: StudyRecord, now: str) -> tuple[str, ...]:
    """The artifact stores that a study had before the present one."""
    known = dict.fromkeys((record.artifacts, *record.artifact_stores))
    return tuple(url for url in known if url and url != now)


def _from_sweep(record: StudyRecord) -> bool:
    """Whether a sweep file describes the study."""
    return "metric" in record.sweep.get("study", {})


def _difference(known: StudyRecord, wanted: StudyDefinition) -> str:
    """`` (what differs)``; empty where one of the two is not from a sweep file."""
    if wanted.sweep is None or not _from_sweep(known):
        return ""
    return f" ({describe_difference(known.sweep, wanted.sweep)})"
