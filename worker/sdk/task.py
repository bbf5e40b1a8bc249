"""The SDK: `Task`, in ClearML's words, for the programs that tasks run and for those that look at them."""

from __future__ import annotations

import argparse
import atexit
import contextlib
import logging
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from enum import Enum
from pathlib import Path
from typing import Any

from worker.protocol.errors import BadInput, TransitionRefused
from worker.protocol.record import TaskRecord, new_task_id
from worker.protocol.status import FINISHED, Reason, Status
from worker.sdk import argparse_patch, runtime
from worker.sdk.home import Home
from worker.sdk.logger import Logger
from worker.sdk.session import LocalSession, Session, describe
from worker.sdk.standalone import by_hand
from worker.sdk.standalone_session import StandaloneSession
from worker.sdk.task_artifacts import TaskArtifacts
from worker.sdk.task_parameters import TaskParameters
from worker.sdk.task_queries import ARCHIVED, TaskQueries

log = logging.getLogger(__name__)

PROGRESS = (":monitor:task", "progress")
"""Title and series of what `Task.set_progress` reports."""


class TaskTypes(str, Enum):
    """ClearML's words for what a task does; they change nothing."""

    training = "training"
    testing = "testing"
    inference = "inference"
    data_processing = "data_processing"
    application = "application"
    monitor = "monitor"
    controller = "controller"
    optimizer = "optimizer"
    service = "service"
    qc = "qc"
    custom = "custom"

    def __str__(self) -> str:
        return self.value


class Task(TaskParameters, TaskArtifacts, TaskQueries):
    """One experiment.

    A function objective gets its task as its argument. A script gets it from `Task.init`, and anything
    called from either from `Task.current_task`. Any other program gets at tasks with `get_task` and the
    like. Reports are batched in the background; a report raises `TaskStopped` once the task is to stop.
    """

    TaskTypes = TaskTypes
    TaskStatusEnum = Status

    def __init__(
        self, description: Mapping[str, Any], session: Session | None = None, at: Home | None = None
    ) -> None:
        """For this library; programs use `Task.init`, `Task.current_task` or `Task.get_task`.

        Args:
            description: see `worker.sdk.session.describe`.
            session: where this program's reports go; None for another program's task.
            at: the Redis that the task's record is in; None where only its worker may know.
        """
        self._about = dict(description)
        self._session = session
        self._at = at
        self._connected: dict[str, Any] = {}
        self._matched: set[str] = set()
        self._logger = Logger(self)
        TaskArtifacts.__init__(self)
        self._followers: list[Any] = []

    @classmethod
    def _of(cls, record: TaskRecord, at: Home) -> Task:
        """Somebody else's task, or this program's own if it is that."""
        current = runtime.current()
        if isinstance(current, Task) and current.id == record.id:
            return current
        return cls({**describe(record), "status": record.status.value}, at=at)

    # This program's task

    @classmethod
    def init(
        cls,
        project_name: str | None = None,
        task_name: str | None = None,
        task_type: str = "training",
        tags: Sequence[str] | None = None,
        reuse_last_task_id: bool | str = True,
        continue_last_task: bool | str | int = False,
        output_uri: Any = None,
        auto_connect_arg_parser: bool | Mapping[str, bool] = True,
        auto_connect_frameworks: bool | Mapping[str, Any] = True,
        auto_resource_monitoring: bool | Mapping[str, Any] = True,
        auto_connect_streams: bool | Mapping[str, bool] = True,
        deferred_init: bool = False,
    ) -> Task:
        """The task of this program.

        Under a worker this is the task being run, whatever the names. Run by hand, the program becomes a
        task of its own in Redis (``REDIS_URL``, else an embedded one): a base task that an optimizer can
        make jobs from, with the program's script, its arguments and its connected parameters.

        Args:
            project_name, task_name: to find the task by; by default no project and the script's name.
            task_type: ClearML's word for what it does.
            tags: free words.
            output_uri: artifact store of this task, a URL or one of Optuna's; by default ``ARTIFACT_STORE``.
            auto_connect_arg_parser: take what argparse parses as parameters ``Args/…``.

        The other arguments are ClearML's and without effect: every run by hand is a task of its own, and
        `get_task` finds the newest.

        Raises:
            RedisUnavailable: the Redis that ``REDIS_URL`` names can't be used.
        """
        current = cls.current_task()
        if current is None:
            uri = _store_url(output_uri)
            current = by_hand(cls, project_name or "", task_name, str(task_type), tuple(tags or ()), uri)
            runtime.enter(current)
        if auto_connect_arg_parser:
            for parser, namespace in argparse_patch.take_seen():
                current.connect_arguments(parser, namespace)
        else:
            argparse_patch.take_seen()
            current._about["no_argparse"] = True
        return current

    @classmethod
    def unlisted(cls) -> Task:
        """A task that nobody sees: its reports stay in this process."""
        description: dict[str, Any] = {"id": new_task_id(), "parameters": {}, "metrics": []}
        return cls(description, LocalSession())

    @classmethod
    def current_task(cls) -> Task | None:
        """The task of this program, or None when there is none."""
        current = runtime.current()
        if current is None:
            found = runtime.connect()
            if found is None:
                return None
            current = cls(*found)
            runtime.enter(current)
        assert isinstance(current, Task)
        return current

    # What it is

    @property
    def id(self) -> str:
        return str(self._about["id"])

    task_id = id

    @property
    def name(self) -> str:
        return str(self._about.get("name", ""))

    @name.setter
    def name(self, name: str) -> None:
        self.set_name(name)

    def set_name(self, name: str) -> None:
        """Give the task another name."""
        self._change(lambda old: replace(old, name=str(name)))
        self._about["name"] = str(name)

    @property
    def project(self) -> str:
        return str(self._about.get("project", ""))

    def get_project_name(self) -> str:
        """Name of its project; empty when it has none."""
        return self.project

    @property
    def parent(self) -> str:
        """Id of the task it was made from or by; empty when there is none."""
        return str(self._about.get("parent", ""))

    def set_parent(self, parent: Task | str | None) -> None:
        """Give the task another parent: a task or its id."""
        identifier = parent.id if isinstance(parent, Task) else str(parent or "")
        self._change(lambda old: replace(old, parent=identifier))
        self._about["parent"] = identifier

    @property
    def task_type(self) -> str:
        return str(self._about.get("task_type", "training"))

    @property
    def study(self) -> str:
        """Name of the study the task belongs to; empty when it belongs to none."""
        return str(self._about.get("study", ""))

    @property
    def trial_number(self) -> int:
        """Optuna's number of the trial; -1 outside a study."""
        return int(self._about.get("trial", -1))

    @property
    def attempt(self) -> int:
        """Which execution of the task this is, from 1."""
        return int(self._about.get("attempt", 1))

    @property
    def resumed_at(self) -> int | None:
        """Iteration of the checkpoint that this attempt may continue from; None when there is none."""
        found = self._about.get("resumed_at")
        return None if found is None else int(found)

    def reload(self) -> None:
        """Read the task anew."""
        if self._at is not None:
            record = _settled(self._at, self._at.store.tasks.get(self.id))
            self._about.update({**describe(record), "status": record.status.value})

    def _change(self, change: Callable[[TaskRecord], TaskRecord]) -> bool:
        if self._at is None:
            return False
        record = self._at.store.tasks.edit(self.id, change)
        self._about.update({**describe(record), "status": record.status.value})
        return True

    # Tags

    def get_tags(self) -> list[str]:
        return list(self._about.get("tags", ()))

    def add_tags(self, tags: Sequence[str] | str) -> None:
        """Add one tag or several; those that it has already stay single."""
        self.set_tags([*self.get_tags(), *([tags] if isinstance(tags, str) else tags)])

    def set_tags(self, tags: Sequence[str]) -> None:
        """Replace the tags."""
        kept = tuple(dict.fromkeys(str(tag) for tag in tags))
        if not self._change(lambda old: replace(old, spec=replace(old.spec, tags=kept))):
            log.warning("task %s: a worker's program can't change its tags; they are its job's", self.id)
        self._about["tags"] = list(kept)

    def set_archived(self, archive: bool = True) -> None:
        """Have lists leave the task out, or not any more."""
        rest = [tag for tag in self.get_tags() if tag != ARCHIVED]
        self.set_tags([*rest, ARCHIVED] if archive else rest)

    def get_archived(self) -> bool:
        return ARCHIVED in self.get_tags()

    # Reports

    def get_logger(self) -> Logger:
        return self._logger

    def report_scalar(self, title: str, series: str, value: float, iteration: int) -> None:
        """Report one value.

        Args:
            title, series: name the metric ``title/series``; an empty series names it ``title``.
            value: a number; NaN and infinities are recorded and never rank.
            iteration: epoch, step or whatever counts, from 0.

        Raises:
            TaskStopped: the task is to stop; let it pass.
            TypeError, ValueError: `value` or `iteration` is no number.
            BadInput: the task is another program's.
        """
        if self._session is None:
            raise BadInput(f"task {self.id}: reports come from the program that runs it")
        self._session.report((title, series, float(value), int(iteration), time.time()))

    def _log(self, text: str, printed: bool) -> None:
        if self._session is not None:
            self._session.log(text)

    def should_stop(self) -> bool:
        """True once the task is to stop, for programs that rather ask than be interrupted."""
        return self._session is not None and self._session.stop is not None

    def set_progress(self, progress: float) -> None:
        """Say how far the task is, in percent."""
        if not 0 <= float(progress) <= 100:
            raise ValueError(f"progress {progress}: in percent, from 0 to 100")
        self.report_scalar(*PROGRESS, progress, round(progress))

    def get_progress(self) -> int | None:
        """What `set_progress` said last; None when it said nothing."""
        found = self.get_last_scalar_metrics().get(PROGRESS[0], {}).get(PROGRESS[1])
        return None if found is None else round(found["last"])

    def get_last_scalar_metrics(self) -> dict[str, dict[str, dict[str, float]]]:
        """title → series → ``{"last", "min", "max"}`` of all that the task has reported."""
        scalars = self._session.scalars() if self._session else self._store().scalars([self.id])[0]
        found: dict[str, dict[str, dict[str, float]]] = {}
        for summary in scalars.values():
            values = {"last": summary.last, "min": summary.min, "max": summary.max}
            found.setdefault(summary.title, {})[summary.series] = values
        return found

    def get_reported_scalars(
        self, max_samples: int = 0, x_axis: str = "iter"
    ) -> dict[str, dict[str, dict[str, list[float]]]]:
        """title → series → ``{"name", "x", "y"}``: the points that the task has reported.

        Args:
            max_samples: at most so many of a series, evenly chosen, the last among them; 0 for all.
            x_axis: ``iter``, ``timestamp`` (milliseconds from the first) or ``iso_time`` (milliseconds
                since the epoch).
        """
        if x_axis not in ("iter", "timestamp", "iso_time"):
            raise ValueError(f"x_axis {x_axis!r}: iter, timestamp or iso_time")
        series = self._session.series() if self._session else self._store().series(self.id)
        scalars = self._session.scalars() if self._session else self._store().scalars([self.id])[0]
        found: dict[str, dict[str, dict[str, Any]]] = {}
        for key, points in series.items():
            summary = scalars.get(key)
            title, name = (summary.title, summary.series) if summary else (key, "")
            chosen = _thinned(points, max_samples)
            first = points[0][2] * 1000 if points and x_axis == "timestamp" else 0.0
            xs = [i if x_axis == "iter" else at * 1000 - first for i, _, at in chosen]
            found.setdefault(title, {})[name] = {"name": name, "x": xs, "y": [v for _, v, _ in chosen]}
        return found

    def connect_tensorboard(self, folder: str | Path) -> None:
        """Pick up the scalars that this program writes with TensorBoard below `folder`, from now on.

        A tag ``loss/train`` is title ``loss``, series ``train``; ``accuracy`` is both.

        Raises:
            BadInput: the package tensorboard isn't installed.
        """
        from worker.sdk.tensorboard import Follower

        def report(title: str, series: str, value: float, step: int, at: float) -> None:
            if self._session is not None:
                self._session.report((title, series, float(value), int(step), float(at)))

        follower = Follower(folder, report)
        follower.start()
        self._followers.append(follower)
        atexit.register(follower.stop)

    def finish_following(self) -> None:
        """Take what TensorBoard has written until now, and look no more."""
        while self._followers:
            self._followers.pop().stop()

    # Its life

    def _store(self) -> Any:
        assert self._at is not None
        return self._at.store

    @property
    def status(self) -> str:
        """Where the task is in its life; read anew."""
        self.reload()
        return str(self._about.get("status", Status.IN_PROGRESS.value))

    def get_status(self) -> str:
        """The same as `status`."""
        return self.status

    def completed(self) -> bool:
        return self.status == Status.COMPLETED.value

    def wait_for_status(
        self,
        status: Sequence[str | Status] = (Status.COMPLETED, Status.STOPPED),
        raise_on_status: Sequence[str | Status] | None = (Status.FAILED,),
        check_interval_sec: float = 1.0,
    ) -> None:
        """Return when the task has one of some statuses.

        Args:
            status: to wait for.
            raise_on_status: at which to give up.
            check_interval_sec: seconds between two looks.

        Raises:
            RuntimeError: it has got one of `raise_on_status`, or has ended otherwise.
        """
        wanted = {str(item) for item in _several(status)}
        bad = {str(item) for item in _several(raise_on_status or ())}
        while (now := self.status) not in wanted:
            if now in bad or (now in {str(item) for item in FINISHED}):
                raise RuntimeError(f"task {self.id}: it has ended as {now}: {self.get_status_reason()}")
            time.sleep(check_interval_sec)

    def get_status_reason(self) -> str:
        """Why the task has ended as it has; empty when there is nothing to say."""
        if self._at is None:
            return ""
        record = self._at.store.tasks.get(self.id)
        return f"{record.reason_class}: {record.reason}" if record.reason_class else record.reason

    get_status_message = get_status_reason

    def flush(self, wait_for_uploads: bool = False) -> bool:
        """Send what has been reported. Uploads are never in the background; the argument is ClearML's."""
        if self._session is not None:
            self._session.flush()
        return True

    def close(self) -> None:
        """End this program's part in the task. Run by hand, the task is completed."""
        if self._session is None:
            return
        self.finish_following()
        if isinstance(self._session, StandaloneSession):
            self._session.end(Status.COMPLETED)
        else:
            self._session.flush()
        runtime.leave(self)

    def mark_completed(self, ignore_errors: bool = True, status_message: str | None = None, **_: Any) -> None:
        """Settle that this program's task ends as completed. Raises `BadInput` for another program's."""
        if self._session is None:
            raise BadInput(f"task {self.id}: only the program that runs it can complete it")
        self.finish_following()
        self._session.mark(Status.COMPLETED, status_message or "")

    def mark_failed(
        self,
        ignore_errors: bool = True,
        status_reason: str | None = None,
        status_message: str | None = None,
        **_: Any,
    ) -> None:
        """End the task as failed. Another program's is asked to stop first, if it runs."""
        reason = status_message or status_reason or "marked as failed"
        if self._session is not None:
            self._session.mark(Status.FAILED, reason)
        else:
            self._end(Reason.OBJECTIVE_ERROR, reason)

    def mark_stopped(self, force: bool = False, status_message: str | None = None, **_: Any) -> None:
        """End the task as stopped. Another program's is asked to stop first, if it runs."""
        reason = status_message or "stopped by hand"
        if self._session is not None:
            self._session.mark(Status.STOPPED, reason)
        else:
            self._end(Reason.USER, reason)

    def _end(self, reason_class: Reason, reason: str) -> None:
        store = self._store()
        record = store.tasks.get(self.id)
        if record.status in FINISHED:
            return
        store.transitions.request_stop(self.id, reason_class, reason)
        self.reload()

    def delete(self, delete_artifacts_and_models: bool = True, **_: Any) -> bool:
        """Remove the task's record, scalars and log; artifacts only lose their listing.

        Raises:
            BadInput: it runs, waits to be run, or belongs to a study.
        """
        record = self._store().get(self.id)
        if record.study:
            raise BadInput(
                f"task {self.id}: it belongs to study {record.study!r}: controller delete does that"
            )
        if record.status in (Status.QUEUED, Status.IN_PROGRESS):
            raise BadInput(f"task {self.id}: it is {record.status}; stop it first")
        self._store().delete_task(self.id)
        return True

    def register_abort_callback(
        self, callback_function: Callable[[], Any] | None, callback_execution_timeout: float = 30.0
    ) -> None:
        """Have a function called, in a thread, when the task is to stop.

        Args:
            callback_function: without arguments; None for none any more.
            callback_execution_timeout: ClearML's; the grace period of the task is what counts here.
        """
        if self._session is None:
            raise BadInput(f"task {self.id}: only the program that runs it can be told of its end")

        def call() -> None:
            assert callback_function is not None
            threading.Thread(target=callback_function, name="optuna-rq-abort", daemon=True).start()

        self._session.on_stop = call if callback_function else None

    def execute_remotely(
        self, queue_name: str | None = None, clone: bool = False, exit_process: bool = True
    ) -> Task | None:
        """Have a worker run this program from its beginning. Under a worker this does nothing.

        Args:
            queue_name: that workers serve; None does nothing.
            clone: queue a copy, and go on here as well.
            exit_process: end this program; required unless `clone`.

        Returns:
            The task that was queued; None under a worker or without a queue.

        Raises:
            BadInput: this program can't be run by a worker, as a notebook can't.
        """
        if not isinstance(self._session, StandaloneSession) or queue_name is None or self._at is None:
            return None
        if not self._at.store.tasks.get(self.id).spec.objective:
            raise BadInput("execute_remotely: this program is no script, so that no worker can run it")
        if clone:
            copy = type(self).clone(self, name=self.name, project=self.project)
            type(self).enqueue(copy, queue_name)
            if exit_process:
                self.close()
                sys.exit(0)
            return copy
        if not exit_process:
            raise BadInput("execute_remotely: without clone=True this program has to end: exit_process=True")
        from worker.protocol.queues import check_queue_name

        queue = check_queue_name(queue_name)
        self.finish_following()
        self._at.store.tasks.edit(self.id, lambda old: replace(old, spec=replace(old.spec, queue=queue)))
        record = self._session.hand_over(f"handed to queue {queue}")
        self._at.enqueue(record)
        runtime.leave(self)
        print(f"task {self.id} is on queue {queue!r}; this program ends here", flush=True)
        sys.exit(0)

    def __repr__(self) -> str:
        return f"Task(id={self.id!r}, name={self.name!r})"


def _store_url(given: Any) -> str | None:
    """The URL of a store as `Task.init` takes it; None for ClearML's True and False."""
    if not given or given is True:
        return None
    from worker.artifacts import open_store

    return open_store(given).url


def _thinned(points: list[tuple[int, float, float]], most: int) -> list[tuple[int, float, float]]:
    if most <= 0 or len(points) <= most:
        return points
    if most == 1:
        return points[-1:]
    return [points[round(i * (len(points) - 1) / (most - 1))] for i in range(most)]


def _several(value: Any) -> Sequence[Any]:
    return [value] if isinstance(value, str) else list(value)


def _settled(at: Home, record: TaskRecord) -> TaskRecord:
    """`record`, its end made known if its program has vanished and nobody else looks after it."""
    if record.study or record.status is not Status.IN_PROGRESS or at.store.tasks.leases([record.id])[0]:
        return record
    with contextlib.suppress(TransitionRefused):
        return at.store.transitions.force_finish(
            record.id, Reason.WORKER_LOST, "its program ended without saying how"
        )
    return at.store.tasks.get(record.id)


def _argparse_listener(parser: argparse.ArgumentParser, namespace: argparse.Namespace) -> bool:
    task = Task.current_task()
    if task is None:
        return False
    if not task._about.get("no_argparse"):
        task.connect_arguments(parser, namespace)
    return True


argparse_patch.install(_argparse_listener)
