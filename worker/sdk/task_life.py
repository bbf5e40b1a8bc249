"""How a task goes on and ends."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from worker.protocol.errors import BadInput
from worker.protocol.queues import check_queue_name
from worker.protocol.status import FINISHED, Reason, Status
from worker.sdk import runtime
from worker.sdk.task_core import TaskCore
from worker.sdk.task_queries import TaskQueries
from worker.sdk.task_reports import TaskReports


class TaskLife(TaskReports, TaskQueries):
    """The part of `Task` that knows its status and ends it."""

    @property
    def status(self) -> str:
        """The task's status, read from Redis."""
        self.reload()
        return str(self.about.get("status", Status.IN_PROGRESS.value))

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
        if self.at is None:
            return ""
        record = self.at.store.tasks.get(self.id)
        return f"{record.reason_class}: {record.reason}" if record.reason_class else record.reason

    get_status_message = get_status_reason

    def flush(self, wait_for_uploads: bool = False) -> bool:
        """Send what has been reported. Uploads are never in the background; the argument is ClearML's."""
        if self.session is not None:
            self.session.flush()
        return True

    def close(self) -> None:
        """End this program's part in the task. A standalone program's task is completed."""
        if self.session is None:
            return
        self.finish_following()
        self.session.close()
        runtime.leave(self)

    def mark_completed(self, ignore_errors: bool = True, status_message: str | None = None, **_: Any) -> None:
        """Settle that this program's task ends as completed. Raises `BadInput` for another program's."""
        if self.session is None:
            raise BadInput(f"task {self.id}: only the program that runs it can complete it")
        self.finish_following()
        self.session.mark(Status.COMPLETED, status_message or "")

    def mark_failed(
        self,
        ignore_errors: bool = True,
        status_reason: str | None = None,
        status_message: str | None = None,
        **_: Any,
    ) -> None:
        """End the task as failed. Another program's is asked to stop first, if it runs."""
        reason = status_message or status_reason or "marked as failed"
        if self.session is not None:
            self.session.mark(Status.FAILED, reason)
        else:
            self._end(Reason.OBJECTIVE_ERROR, reason)

    def mark_stopped(self, force: bool = False, status_message: str | None = None, **_: Any) -> None:
        """End the task as stopped. Another program's is asked to stop first, if it runs."""
        reason = status_message or "stopped by hand"
        if self.session is not None:
            self.session.mark(Status.STOPPED, reason)
        else:
            self._end(Reason.USER, reason)

    def _end(self, reason_class: Reason, reason: str) -> None:
        store = self.store
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
        record = self.store.tasks.get(self.id)
        if record.study:
            raise BadInput(
                f"task {self.id}: it belongs to study {record.study!r}: controller delete does that"
            )
        if record.status in (Status.QUEUED, Status.IN_PROGRESS):
            raise BadInput(f"task {self.id}: it is {record.status}; stop it first")
        self.store.tasks.delete(self.id)
        return True

    def register_abort_callback(
        self, callback_function: Callable[[], Any] | None, callback_execution_timeout: float = 30.0
    ) -> None:
        """Have a function called, in a thread, when the task is to stop.

        Args:
            callback_function: without arguments; None for none any more.
            callback_execution_timeout: ClearML's; the grace period of the task is what counts here.
        """
        if self.session is None:
            raise BadInput(f"task {self.id}: only the program that runs it can be told of its end")

        def call() -> None:
            assert callback_function is not None
            threading.Thread(target=callback_function, name="optuna-rq-abort", daemon=True).start()

        self.session.on_stop = call if callback_function else None

    def execute_remotely(
        self, queue_name: str | None = None, clone: bool = False, exit_process: bool = True
    ) -> TaskCore | None:
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
        from worker.sdk.standalone_session import (  # noqa: PLC0415 - redis, which a worker's program does without
            StandaloneSession,
        )

        if not isinstance(self.session, StandaloneSession) or queue_name is None or self.at is None:
            return None
        if not self.at.store.tasks.get(self.id).spec.objective:
            raise BadInput("execute_remotely: this program is no script, so that no worker can run it")
        if clone:
            copy = type(self).clone(self, name=self.about.get("name"), project=self.about.get("project"))
            type(self).enqueue(copy, queue_name)
            if exit_process:
                self.close()
                sys.exit(0)
            return copy
        if not exit_process:
            raise BadInput("execute_remotely: without clone=True this program has to end: exit_process=True")

        queue = check_queue_name(queue_name)
        self.finish_following()
        self.at.store.tasks.edit(self.id, lambda old: replace(old, spec=replace(old.spec, queue=queue)))
        record = self.session.hand_over(f"handed to queue {queue}")
        self.at.enqueue(record)
        runtime.leave(self)
        print(f"task {self.id} is on queue {queue!r}; this program ends here", flush=True)
        sys.exit(0)


def _several(value: Any) -> Sequence[Any]:
    return [value] if isinstance(value, str) else list(value)
