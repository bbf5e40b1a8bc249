"""A task's status, and how it ends."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

from worker.protocol.errors import BadInput
from worker.protocol.status import FINISHED, Reason, Status
from worker.sdk import runtime
from worker.sdk.task_core import TaskCore


class TaskLife(TaskCore):
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
        """Have this program's task end as completed. Raises `BadInput` for another program's."""
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


def _several(value: Any) -> Sequence[Any]:
    return [value] if isinstance(value, str) else list(value)
