"""Finding, making and copying tasks: the class methods of `Task`."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, TypeVar

from worker.protocol.errors import BadInput
from worker.protocol.nearest import nearest
from worker.protocol.queues import check_queue_name
from worker.protocol.record import TaskRecord, TaskSpec, new_task_id
from worker.protocol.status import Status
from worker.protocol.values import plain
from worker.sdk import runtime
from worker.sdk.session import describe
from worker.sdk.task_core import TaskCore

if TYPE_CHECKING:
    from worker.sdk.home import Home

T = TypeVar("T", bound="TaskQueries")

ARCHIVED = "archived"
"""Tag of tasks that lists leave out."""
_CHUNK = 200
_STATUSES = tuple(status.value for status in Status)


class TaskQueries(TaskCore):
    """The class methods of `Task` that find, make and copy tasks."""

    @classmethod
    def of_record(cls: type[T], record: TaskRecord, at: Home) -> T:
        """The task of a record, for this library; this program's own if it is that."""
        current = runtime.current()
        if isinstance(current, cls) and current.id == record.id:
            return current
        return cls({**describe(record), "status": record.status.value}, at=at)

    @classmethod
    def get_task(
        cls: type[T],
        task_id: str | None = None,
        project_name: str | None = None,
        task_name: str | None = None,
        tags: Sequence[str] | None = None,
        allow_archived: bool = True,
        task_filter: Mapping[str, Any] | None = None,
    ) -> T:
        """One task: the one of an id, else the newest that fits.

        Args:
            task_id: its id; the other arguments are not looked at then.
            project_name, task_name: exactly as given to `init` or `create`.
            tags: it has all of them.
            allow_archived: archived tasks, too.
            task_filter: as for `get_tasks`.

        Raises:
            BadInput: there is none; names what comes nearest.
        """
        at = home(create=False)
        if task_id is not None:
            return cls.of_record(at.store.tasks.get(str(task_id)), at)
        if project_name is None and task_name is None and not tags:
            raise BadInput("Task.get_task: name a task_id, or a project_name and a task_name")
        wanted = _Wanted(project_name, None if task_name is None else re.escape(task_name), tags, task_filter)
        for studies in (bool(task_filter), True):
            for record in _records(at, studies=studies):
                if wanted.fits(record) and (allow_archived or ARCHIVED not in record.all_tags):
                    return cls.of_record(record, at)
        raise BadInput(_nothing(at, project_name, task_name, wanted))

    @classmethod
    def get_tasks(
        cls: type[T],
        task_ids: Sequence[str] | None = None,
        project_name: str | None = None,
        task_name: str | None = None,
        tags: Sequence[str] | None = None,
        allow_archived: bool = True,
        task_filter: Mapping[str, Any] | None = None,
    ) -> list[T]:
        """All tasks that fit, the newest first; those of studies too.

        Args:
            task_ids: exactly these, in this order.
            project_name: of the tasks.
            task_name: a regular expression that their names match somewhere.
            tags: they have all of them.
            allow_archived: archived ones, too.
            task_filter: ``status`` (a list), ``parent``, ``type`` (a list) and ``study`` to choose by.

        Raises:
            BadInput: one of `task_ids` isn't there, or a filter is unknown.
        """
        at = home(create=False)
        if task_ids is not None:
            return [cls.of_record(at.store.tasks.get(str(task_id)), at) for task_id in task_ids]
        wanted = _Wanted(project_name, task_name, tags, task_filter, whole=False)
        return [
            cls.of_record(record, at)
            for record in _records(at, studies=True)
            if wanted.fits(record) and (allow_archived or ARCHIVED not in record.all_tags)
        ]

    @classmethod
    def create(
        cls: type[T],
        project_name: str | None = None,
        task_name: str | None = None,
        task_type: str | None = None,
        script: str | None = None,
        argparse_args: Iterable[tuple[str, Any]] | None = None,
        *,
        function: str | None = None,
        command: Sequence[str] | None = None,
        module: str | None = None,
        parameters: Mapping[str, Any] | None = None,
        add_task_init_call: bool = True,
        **_: Any,
    ) -> T:
        """Make a task without running anything.

        Args:
            project_name, task_name: to find it by.
            task_type: ClearML's word for what it does.
            script: path of the script that it runs, relative to where workers are started.
            argparse_args: (name, value) of the script's arguments, as parameters ``Args/name``.
            function: ``module:name`` of a function to run instead of a script.
            command: a program and its arguments, with ``{name}`` placeholders, instead of a script.
            module: to run as ``python -m`` instead of a script.
            parameters: ``section/name`` → default value.
            add_task_init_call: ClearML's, without effect: a script reports where it calls `Task.init`.

        Raises:
            BadInput: not exactly one thing to run is named.
        """
        ways = {"script": script, "function": function, "command": command, "module": module}
        given = [name for name, value in ways.items() if value]
        if len(given) > 1:
            raise BadInput(f"Task.create: {' and '.join(given)} are given; name one of them")
        objective = _objective_of(given[0], ways[given[0]]) if given else {}
        known = {str(name): plain(value) for name, value in (parameters or {}).items()}
        known.update({f"Args/{str(name).lstrip('-')}": plain(value) for name, value in argparse_args or ()})
        at = home()
        record = TaskRecord(
            id=new_task_id(),
            name=task_name or (given and str(ways[given[0]])) or "task",
            project=project_name or "",
            spec=TaskSpec(
                objective=objective,
                parameters=known,
                artifacts=at.artifacts_url,
                task_type=str(task_type or "training"),
            ),
            created_at=at.store.clock.now(),
        )
        at.store.tasks.create(record)
        return cls.of_record(record, at)

    @classmethod
    def clone(
        cls: type[T],
        source_task: TaskCore | str | None = None,
        name: str | None = None,
        comment: str | None = None,
        parent: str | None = None,
        project: str | None = None,
    ) -> T:
        """A new task that is to run what `source_task` ran, with the same parameters.

        Args:
            source_task: a task or its id.
            name: of the copy, by default "Clone of …".
            comment: ClearML's, not kept.
            parent: id of its parent, by default `source_task`.
            project: of the copy, by default the same.

        Raises:
            BadInput: there is no such task; or jobs are signed, and it isn't as it was made.
        """
        at = home(create=False)
        source = at.store.tasks.vouched(_id_of(source_task))
        record = TaskRecord(
            id=new_task_id(),
            name=name or f"Clone of {source.name}",
            project=project or source.project,
            parent=parent or source.id,
            spec=replace(source.spec, metrics=(), check_only=False, confirms=""),
            created_at=at.store.clock.now(),
        )
        at.store.tasks.create(record)
        return cls.of_record(record, at)

    @classmethod
    def enqueue(
        cls, task: TaskCore | str, queue_name: str | None = None, queue_id: str | None = None, **_: Any
    ) -> dict[str, int]:
        """Have a worker run a task that was made by `create` or `clone`.

        Args:
            task: the task or its id.
            queue_name: that workers serve; ``default`` when not named.
            queue_id: the same, ClearML's other way to name it.

        Raises:
            BadInput: it has nothing to run, has run already, or the queue can't be named so; or jobs are
                signed, and it isn't as it was made.
        """
        at = home(create=False)
        queue = check_queue_name(queue_name or queue_id or "default")
        record = at.store.tasks.vouched(_id_of(task))
        if record.status is not Status.CREATED:
            raise BadInput(f"task {record.id}: it is {record.status}; clone it to run it again")
        if not record.spec.objective:
            raise BadInput(f"task {record.id} ({record.name}): nothing is known that a worker could run")
        record = at.store.tasks.edit(record.id, lambda old: replace(old, spec=replace(old.spec, queue=queue)))
        at.enqueue(at.store.transitions.queue(record.id))
        if isinstance(task, TaskCore):
            task.reload()
        return {"queued": 1}

    @classmethod
    def query_tasks(
        cls,
        project_name: str | None = None,
        task_name: str | None = None,
        tags: Sequence[str] | None = None,
        task_filter: Mapping[str, Any] | None = None,
        **_: Any,
    ) -> list[str]:
        """Ids of what `get_tasks` finds."""
        at = home(create=False)
        wanted = _Wanted(project_name, task_name, tags, task_filter, whole=False)
        return [record.id for record in _records(at, studies=True) if wanted.fits(record)]


def _objective_of(way: str, value: Any) -> dict[str, Any]:
    """How a record describes what a task runs; see `worker.runner.objective`."""
    if way == "function":
        return {"kind": "function", "target": value}
    if way == "command":
        return {"kind": "command", "argv": [str(part) for part in value]}
    return {"kind": "script", "path" if way == "script" else way: value, "args": []}


def home(*, create: bool = True) -> Home:
    """See `worker.sdk.home.home`."""
    from worker.sdk.home import home as found  # noqa: PLC0415 - redis, which a worker's program does without

    return found(create=create)


class _Wanted:
    """What a task must be to be found."""

    FILTERS = ("status", "parent", "type", "study")

    def __init__(
        self,
        project: str | None,
        name: str | None,
        tags: Sequence[str] | None,
        task_filter: Mapping[str, Any] | None,
        whole: bool = True,
    ) -> None:
        self._project = project
        try:
            self._name = None if name is None else re.compile(name)
        except re.error as error:
            raise BadInput(f"task_name {name!r} is no regular expression: {error}") from error
        self._whole = whole
        self._tags = set([tags] if isinstance(tags, str) else tags or ())
        self._filter = dict(task_filter or {})
        for key in self._filter:
            if key not in self.FILTERS:
                near = nearest(key, self.FILTERS)
                hint = f"did you mean {near!r}?" if near else f"there are {', '.join(self.FILTERS)}"
                raise BadInput(f"task_filter: unknown key {key!r}; {hint}")
        for status in _listed(self._filter.get("status", ())):
            if str(status) not in _STATUSES:
                near = nearest(str(status), _STATUSES)
                hint = f"did you mean {near!r}?" if near else f"there are {', '.join(_STATUSES)}"
                raise BadInput(f"task_filter: no task has status {str(status)!r}; {hint}")

    def fits(self, record: TaskRecord) -> bool:
        return self.is_named(record) and not self.objections(record)

    def is_named(self, record: TaskRecord) -> bool:
        """Whether project and name are those that are wanted."""
        if self._project is not None and record.project != self._project:
            return False
        if self._name is None:
            return True
        match = self._name.fullmatch if self._whole else self._name.search
        return match(record.name) is not None

    def objections(self, record: TaskRecord) -> list[str]:
        """What a task has that isn't wanted, apart from its name: ``status completed``."""
        found = {
            "status": record.status.value,
            "parent": record.parent,
            "type": record.spec.task_type,
            "study": record.study,
        }
        against = [
            f"{key} {found[key] or 'none'}"
            for key, value in self._filter.items()
            if found[key] not in _listed(value)
        ]
        if not self._tags <= set(record.all_tags):
            against.append(f"tags {', '.join(record.all_tags) or 'none'}")
        return against

    @property
    def conditions(self) -> str:
        """All that is wanted apart from a name, in words."""
        asked = [f"{key} {' or '.join(map(str, _listed(value)))}" for key, value in self._filter.items()]
        asked += [f"tags {', '.join(sorted(self._tags))}"] if self._tags else []
        return " and ".join(asked)


def _records(at: Home, *, studies: bool) -> Iterator[TaskRecord]:
    """All tasks, those outside studies first, the newest first; those of studies only if asked for."""
    groups = [at.store.tasks.base_tasks()]
    if studies:
        groups += [list(reversed(at.store.studies.tasks(name))) for name in at.store.studies.names()]
    for ids in groups:
        for start in range(0, len(ids), _CHUNK):
            for record in at.store.tasks.get_many(ids[start : start + _CHUNK]):
                if record is not None:
                    yield record


def _nothing(at: Home, project: str | None, name: str | None, wanted: _Wanted) -> str:
    """What to say when no task was found."""
    about = [f"named {name!r}"] if name is not None else []
    about += [f"in project {project!r}"] if project is not None else []
    about += [f"with {wanted.conditions}"] if wanted.conditions else []
    what = f"no task {' '.join(about)}"
    named = [record for record in _records(at, studies=True) if wanted.is_named(record)]
    if named:
        newest = max(named, key=lambda record: record.created_at)
        count = "the only one of that name" if len(named) == 1 else f"the newest of {len(named)} of that name"
        if name is None:
            count = "the only one there" if len(named) == 1 else f"the newest of {len(named)} there"
        against = wanted.objections(newest)
        return f"{what}; {count} {'has ' + ', '.join(against) if against else 'is archived'}"
    known = [(record.project, record.name) for record in _records(at, studies=False)]
    if not known:
        return f"{what}: run its script once by hand, so that Task.init makes it"
    names = {task: project for project, task in reversed(known)}
    projects = {project for project, _ in known}
    near = nearest(name or "", names)
    if near and near != name:
        hint = f"did you mean {near!r} in project {names[near]!r}?"
    elif name in names:
        hint = f"it is in project {names[name]!r}"
    else:
        close = nearest(project or "", projects)
        shown = ", ".join(sorted(f"{p}/{n}" if p else n for p, n in set(known))[:5])
        hint = f"did you mean project {close!r}?" if close and close != project else f"there are {shown}"
    return f"{what}; {hint}"


def _listed(value: Any) -> Sequence[Any]:
    return list(value) if isinstance(value, (list, tuple, set)) else [value]


def _id_of(task: Any) -> str:
    if task is None:
        raise BadInput("name a task, or its id")
    return str(task) if isinstance(task, str) else str(task.id)
