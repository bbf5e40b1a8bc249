"""The SDK: `Task`, in ClearML's words, for the programs that tasks run and for those that look at them."""

from __future__ import annotations

import argparse
import logging
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from enum import Enum
from typing import TYPE_CHECKING, Any

from worker.protocol.errors import BadInput
from worker.protocol.queues import check_queue_name
from worker.protocol.record import new_task_id
from worker.protocol.status import Status
from worker.sdk import argparse_patch, ranks, runtime
from worker.sdk.logger import Logger
from worker.sdk.session import LocalSession, Session
from worker.sdk.task_artifacts import TaskArtifacts
from worker.sdk.task_life import TaskLife
from worker.sdk.task_parameters import TaskParameters
from worker.sdk.task_queries import ARCHIVED, TaskQueries
from worker.sdk.task_reports import TaskReports

if TYPE_CHECKING:
    from worker.sdk.home import Home

log = logging.getLogger(__name__)


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


class Task(TaskParameters, TaskArtifacts, TaskReports, TaskQueries, TaskLife):
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
        super().__init__(description, session, at)

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
        """The task of this program. In a child of a program that has a task, it is that program's.

        Under a worker this is the task being run; the names do not count. Standalone, the program becomes a
        task of its own in Redis (``REDIS_URL``, else an embedded one): a base task that an optimizer can
        make jobs from, with the program's script, its arguments and its connected parameters.

        Args:
            project_name, task_name: to find the task by; by default no project and the script's name.
            task_type: ClearML's word for what it does.
            tags: free words.
            output_uri: artifact store of this task, a URL or one of Optuna's; by default ``ARTIFACT_STORE``.
            auto_connect_arg_parser: take what argparse parses as parameters ``Args/…``; a dict of name →
                False leaves single arguments out, ``{"*": False, "lr": True}`` takes single ones.

        The other arguments are ClearML's and without effect: every standalone run is a task of its own, and
        `get_task` finds the newest.

        Raises:
            RedisUnavailable: the Redis that ``REDIS_URL`` names can't be used.
        """
        current = cls.current_task() or cls._of_rank_0()
        if current is None:
            uri = _store_url(output_uri)
            from worker.sdk import standalone  # noqa: PLC0415 - redis, which a worker's program does without

            found = standalone.begin(project_name or "", task_name, str(task_type), tuple(tags or ()), uri)
            current = cls(*found)
            standalone.end_with_program(current, found[1])
            runtime.enter(current)
            standalone.hear_children(current)
            ranks.announce(os.environ.get(runtime.JOIN_VARIABLE, ""))
        if auto_connect_arg_parser:
            if isinstance(auto_connect_arg_parser, Mapping):
                current.about["arguments"] = dict(auto_connect_arg_parser)
            for parser, namespace in argparse_patch.take_seen():
                current.connect_arguments(parser, namespace)
        else:
            argparse_patch.take_seen()
            current.about["no_argparse"] = True
        return current

    @classmethod
    def _of_rank_0(cls) -> Task | None:
        """The task of local rank 0, for another rank that was started beside it by hand."""
        invitation = ranks.invitation_of_rank_0()
        if not invitation:
            return None
        os.environ[runtime.JOIN_VARIABLE] = invitation
        return cls.current_task()

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

    # What it is

    @property
    def name(self) -> str:
        return str(self.about.get("name", ""))

    @name.setter
    def name(self, name: str) -> None:
        self.set_name(name)

    def set_name(self, name: str) -> None:
        """Give the task another name."""
        self.change(lambda old: replace(old, name=str(name)))
        self.about["name"] = str(name)

    @property
    def project(self) -> str:
        return str(self.about.get("project", ""))

    def get_project_name(self) -> str:
        """Name of its project; empty when it has none."""
        return self.project

    @property
    def parent(self) -> str:
        """Id of the task it was made from or by; empty when there is none."""
        return str(self.about.get("parent", ""))

    def set_parent(self, parent: Task | str | None) -> None:
        """Give the task another parent: a task or its id."""
        identifier = parent.id if isinstance(parent, Task) else str(parent or "")
        self.change(lambda old: replace(old, parent=identifier))
        self.about["parent"] = identifier

    @property
    def task_type(self) -> str:
        return str(self.about.get("task_type", "training"))

    @property
    def study(self) -> str:
        """Name of the study the task belongs to; empty when it belongs to none."""
        return str(self.about.get("study", ""))

    @property
    def trial_number(self) -> int:
        """Optuna's number of the trial; -1 outside a study."""
        return int(self.about.get("trial", -1))

    @property
    def attempt(self) -> int:
        """Which execution of the task this is, from 1."""
        return int(self.about.get("attempt", 1))

    @property
    def resumed_at(self) -> int | None:
        """Iteration of the checkpoint that this attempt may continue from; None when there is none."""
        found = self.about.get("resumed_at")
        return None if found is None else int(found)

    # Tags

    def get_tags(self) -> list[str]:
        return list(self.about.get("tags", ()))

    def add_tags(self, tags: Sequence[str] | str) -> None:
        """Add one tag or several; those that it has already stay single."""
        self.set_tags([*self.get_tags(), *([tags] if isinstance(tags, str) else tags)])

    def set_tags(self, tags: Sequence[str]) -> None:
        """Replace the tags."""
        kept = tuple(dict.fromkeys(str(tag) for tag in tags))
        if not self.change(lambda old: replace(old, spec=replace(old.spec, tags=kept))):
            log.warning("task %s: a worker's program can't change its tags; they are its job's", self.id)
        self.about["tags"] = list(kept)

    def set_archived(self, archive: bool = True) -> None:
        """Have lists leave the task out, or not any more."""
        rest = [tag for tag in self.get_tags() if tag != ARCHIVED]
        self.set_tags([*rest, ARCHIVED] if archive else rest)

    def get_archived(self) -> bool:
        return ARCHIVED in self.get_tags()

    def __repr__(self) -> str:
        return f"Task(id={self.id!r}, name={self.name!r})"


def _store_url(given: Any) -> str | None:
    """The URL of a store as `Task.init` takes it; None for ClearML's True and False."""
    if not given or given is True:
        return None
    from worker.artifacts import open_store  # noqa: PLC0415 - programs that store nothing don't wait for it

    return open_store(given).url


class _CommandLine:
    """Connects a program's command line to its task."""

    def given(self) -> Mapping[str, Any]:
        task = Task.current_task()
        if task is None or task.about.get("no_argparse"):
            return {}
        return {name.removeprefix("Args/"): value for name, value in task.given().items()}

    def searched(self) -> list[str]:
        task = Task.current_task()
        return [name.removeprefix("Args/") for name in task.about.get("searched", ())] if task else []

    def parsed(self, parser: argparse.ArgumentParser | None, namespace: argparse.Namespace) -> bool:
        task = Task.current_task()
        if task is None:
            return False
        if not task.about.get("no_argparse"):
            task.connect_arguments(parser, namespace)
        return True


def _task_for_logger() -> Task:
    return Task.current_task() or Task.unlisted()


argparse_patch.install(_CommandLine())
runtime.serve_loggers(_task_for_logger)

__all__ = ["Logger", "Task", "TaskTypes"]
