"""The SDK that objectives use: `Task` and `Logger`, in ClearML's words."""

from __future__ import annotations

import argparse
import time
from collections.abc import Mapping
from typing import Any

from worker import runtime
from worker.protocol.record import new_task_id
from worker.saving import ArtifactHandle, upload
from worker.session import LocalSession, Session
from worker.values import bare, cast_like, lookup


class Task:
    """One experiment, as the program that runs it sees it.

    A function objective gets it as its argument. A script gets it from `Task.init`, and anything
    called from either from `Task.current_task`. Reports are batched in the background; a report raises
    `TaskStopped` once the task is to stop.
    """

    def __init__(self, description: Mapping[str, Any], session: Session) -> None:
        """For the worker; programs use `Task.init` or `Task.current_task`.

        Args:
            description: see `worker.session.describe`.
            session: where reports go.
        """
        self._about = dict(description)
        self._session = session
        self._connected: dict[str, Any] = {}
        self._logger = Logger(self)
        self.artifacts: dict[str, ArtifactHandle] = {}
        """Artifacts uploaded by this program, by name."""

    # Which task

    @classmethod
    def init(
        cls,
        project_name: str | None = None,
        task_name: str | None = None,
        tags: list[str] | None = None,
        **_: Any,
    ) -> Task:
        """The task of this program.

        Under a worker this is the task being run, whatever the names. Run by hand it is a task of its
        own, whose reports stay in this process. Other arguments of ClearML's are accepted and unused.
        """
        current = runtime.current()
        if current is None:
            current = _connect() or cls(
                {
                    "id": new_task_id(),
                    "name": task_name or "",
                    "project": project_name or "",
                    "parameters": {},
                    "metrics": [],
                    "artifacts": None,
                    "tags": tags or [],
                },
                LocalSession(),
            )
            runtime.enter(current)
        assert isinstance(current, Task)
        return current

    @classmethod
    def current_task(cls) -> Task | None:
        """The task of this program, or None when there is none."""
        return runtime.current() or _connect(enter=True)

    @property
    def id(self) -> str:
        return str(self._about["id"])

    task_id = id

    @property
    def name(self) -> str:
        return str(self._about.get("name", ""))

    @property
    def project(self) -> str:
        return str(self._about.get("project", ""))

    @property
    def parent(self) -> str:
        return str(self._about.get("parent", ""))

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
    def parameters(self) -> dict[str, Any]:
        """The parameters that the study chose, by the names given there. A copy."""
        return dict(self._about.get("parameters", {}))

    def get_parameters(self) -> dict[str, Any]:
        """All parameters: the connected ones and those that the study chose, by full name."""
        return {**self._connected, **self.parameters}

    def get_parameter(self, name: str, default: Any = None) -> Any:
        """One parameter, by its full name or without its section."""
        found = self.get_parameters()
        if name in found:
            return found[name]
        return next((value for key, value in found.items() if bare(key) == name), default)

    def connect(self, mutable: Any, name: str = "General") -> Any:
        """Let the study's parameters replace the values of a program's own.

        Args:
            mutable: a dict, an `argparse.Namespace`, an `argparse.ArgumentParser` (its defaults are
                replaced) or any object with attributes. Values keep the type of their default.
            name: the section that the names belong to; ``Args`` for argparse.

        Returns:
            `mutable` itself, changed in place.

        Raises:
            TypeError: `mutable` holds no named values.
            ValueError: a parameter can't be turned into its default's type.
        """
        if isinstance(mutable, argparse.ArgumentParser):
            defaults = {
                action.dest: action.default
                for action in mutable._actions
                if action.dest not in ("help", argparse.SUPPRESS)
            }
            mutable.set_defaults(**self._override(defaults, "Args"))
        elif isinstance(mutable, dict):
            mutable.update(self._override(mutable, name))
        elif hasattr(mutable, "__dict__"):
            section = "Args" if isinstance(mutable, argparse.Namespace) else name
            values = {key: value for key, value in vars(mutable).items() if not key.startswith("_")}
            for key, value in self._override(values, section).items():
                setattr(mutable, key, value)
        else:
            raise TypeError(
                f"Task.connect takes a dict, a namespace or an object, not {type(mutable).__name__}"
            )
        return mutable

    def _override(self, defaults: Mapping[str, Any], section: str) -> dict[str, Any]:
        changed = {}
        for key, default in defaults.items():
            there, value = lookup(self._about.get("parameters", {}), section, str(key))
            if there:
                try:
                    value = cast_like(value, default)
                except ValueError as error:
                    raise ValueError(f"parameter {section}/{key}: {error}") from error
                changed[key] = value
            self._connected[f"{section}/{key}"] = changed.get(key, default)
        return changed

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
        """
        self._session.report((title, series, float(value), int(iteration), time.time()))

    def should_stop(self) -> bool:
        """True once the task is to stop, for programs that rather ask than be interrupted."""
        return getattr(self._session, "stop", None) is not None

    def flush(self, wait_for_uploads: bool = False) -> bool:
        """Send what has been reported. Uploads are never in the background; the argument is ClearML's."""
        self._session.flush()
        return True

    def close(self) -> None:
        """End this program's reporting; what was reported is sent."""
        self._session.flush()
        runtime.leave(self)

    # Artifacts

    def upload_artifact(self, name: str, artifact_object: Any, **_: Any) -> bool:
        """Store a file, a folder or an object with the task; returns when it is stored and listed.

        Args:
            name: under which it is listed; a later artifact of the same name replaces it.
            artifact_object: a path (str or Path) to a file or folder, bytes, a dict or list, a numpy
                array, a DataFrame, a figure or an image.

        Raises:
            ArtifactError: it can't be read or stored; the message says why.
        """
        self.artifacts[name] = upload(self._about, self._session, name, artifact_object)
        return True


class Logger:
    """Reports of a task, as ClearML's `Logger`."""

    def __init__(self, task: Task) -> None:
        self._task = task

    @classmethod
    def current_logger(cls) -> Logger:
        """The logger of this program's task, which is made if there is none yet."""
        return Task.init().get_logger()

    def report_scalar(self, title: str, series: str, value: float, iteration: int) -> None:
        """See `Task.report_scalar`."""
        self._task.report_scalar(title, series, value, iteration)

    def report_single_value(self, name: str, value: float) -> None:
        """Report a value that belongs to the whole run, as metric `name`."""
        self._task.report_scalar(name, "", value, 0)

    def report_text(self, msg: str, *_: Any, print_console: bool = True, **__: Any) -> None:
        """Write a line to the task's log."""
        if print_console:
            print(msg, flush=True)

    def flush(self, wait: bool = False) -> bool:
        return self._task.flush()


def _connect(enter: bool = False) -> Task | None:
    """The task of the slot that runs this program, when there is one."""
    found = runtime.connect()
    if found is None:
        return None
    task = Task(*found)
    if enter:
        runtime.enter(task)
    return task
