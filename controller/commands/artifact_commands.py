"""``controller artifacts …``: list, get, put, remove, collect."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from controller.commands.options import redis_option, study_argument, table_option
from controller.commands.settings import (
    Settings,
    open_store,
    pick_study,
    pick_task,
    resolve,
    study_of,
    study_storage,
)
from worker.protocol import Store, StudyRecord
from worker.protocol.errors import BadInput, OptunaRQError
from worker.protocol.printable import one_line

if TYPE_CHECKING:
    # Every command imports this module; what only these commands need is imported inside them.
    from controller.results.artifacts import Artifacts, Listed

_storage = click.option(
    "--storage",
    "storage_url",
    metavar="URL",
    help="Optuna's storage, for what objectives link there. [env: OPTUNA_STORAGE; default: the study's]",
)
_of_task = click.option("--task", help="Of one task only: its id, or the beginning of it.")
_of_top = click.option("--top", "top_k", type=click.IntRange(min=1), metavar="K", help="Of the K best tasks.")
_yes = click.option("--yes", is_flag=True, help="Do not ask.")
_stores = click.option(
    "--store", "stores", multiple=True, metavar="URL",
    help="A store where its artifacts are, too, because workers had another one than the study; repeatable.",
)  # fmt: skip

DEFAULT_AGE = "24h"


@click.group()
def artifacts() -> None:
    """Files and objects that tasks have saved."""


@artifacts.command("list")
@study_argument
@_of_task
@_of_top
@redis_option
@_storage
@table_option
def list_(
    study: str | None,
    task: str | None,
    top_k: int | None,
    redis_url: str | None,
    storage_url: str | None,
    output_format: str,
) -> None:
    """The artifacts of a study and its tasks, of one task, or of the best tasks."""
    from controller.commands.tables import show

    with _opened(redis_url, storage_url, study, task) as (found, chosen):
        listed = _choose(found, chosen, top_k)
    rows = [
        {
            "task": (one.owner[:8] if output_format == "table" else one.owner) or "(study)",
            "name": one.name,
            "bytes": one.meta.size if one.meta else None,
            "type": one.mimetype,
            "url": one.meta.url if one.meta else f"(linked by Optuna: {one.artifact_id})",
        }
        for one in listed
    ]
    show(rows, output_format, raw=[one.row() for one in listed])


@artifacts.command("get")
@click.argument("task", required=False)
@click.argument("name", required=False)
@click.argument("target", required=False, type=click.Path(path_type=Path))
@click.option("--study", help="All of a study, into a folder for each task.")
@_of_top
@click.option(
    "--to", "folder", type=click.Path(path_type=Path, file_okay=False), metavar="FOLDER",
    help="Where several go. [default: the current folder]",
)  # fmt: skip
@click.option(
    "--store", "store_url", metavar="URL",
    help="Store of what an objective uploaded by Optuna's own, or a worker to a store of its own.",
)  # fmt: skip
@click.option("--force", is_flag=True, help="Overwrite existing files.")
@redis_option
@_storage
def get(
    task: str | None,
    name: str | None,
    target: Path | None,
    study: str | None,
    top_k: int | None,
    folder: Path | None,
    store_url: str | None,
    force: bool,
    redis_url: str | None,
    storage_url: str | None,
) -> None:
    """Download, verified: one artifact of a task to TARGET (a file or folder), or several.

    \b
    get TASK NAME [TARGET]          one artifact; --to FOLDER makes its folder
    get TASK [--to FOLDER]          all of a task
    get --top 3 [--study STUDY]     all of the best tasks
    get --study STUDY               all of a study
    """
    if task is None and top_k is None and study is None:
        raise BadInput("artifacts get: say which: TASK NAME, TASK, --top K or --study STUDY")
    if target is not None and folder is not None:
        raise BadInput("artifacts get: give either TARGET, or --to")
    if task is not None and (top_k is not None or study is not None):
        raise BadInput("artifacts get: give either TASK, or --top and --study")
    from worker.artifacts.names import safe_name

    with _opened(redis_url, storage_url, study, task, stores=(store_url,)) as (found, chosen):
        listed = _choose(found, chosen, top_k)
        if name is not None:
            one = _named(listed, str(task), name)
            target = target or _made(folder or Path.cwd())
            click.echo(found.get(one, target, overwrite=force, url=store_url))
            return
        problems = []
        used: set[Path] = set()
        for one in listed:
            place = _made((folder or Path.cwd()) / (one.owner[:8] or "study"))
            path = place / safe_name(one.filename)
            if path in used:
                path = place / safe_name(f"{one.artifact_id[:8]}-{one.filename}")
            used.add(path)
            try:
                click.echo(found.get(one, path, overwrite=force, url=store_url))
            except OptunaRQError as error:
                problems.append(str(error))
    if problems:
        raise OptunaRQError("\n".join(problems))
    if not listed:
        click.echo("nothing to get", err=True)


def _made(place: Path) -> Path:
    """The folder, made if it is missing. Raises `BadInput`."""
    try:
        place.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise BadInput(f"{place}: {error.strerror or error}") from error
    return place


@artifacts.command("put")
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--study", help="The study it belongs to. [default: the newest]")
@click.option("--name", help="Under which it is listed. [default: the file's name]")
@click.option("--mimetype", help="Such as text/csv. [default: guessed from the file's name]")
@redis_option
@_storage
def put(
    file: Path,
    study: str | None,
    name: str | None,
    mimetype: str | None,
    redis_url: str | None,
    storage_url: str | None,
) -> None:
    """Store a file or folder as an artifact of a study's own, and link it in Optuna's storage."""
    with _opened(redis_url, storage_url, study, None, must_reach_optuna=True) as (found, _):
        meta = found.put(file, name or file.resolve().name, mimetype)
    click.echo(meta.url)


@artifacts.command("rm")
@click.argument("task", required=False)
@click.argument("names", nargs=-1, metavar="[NAME]...")
@click.option("--study", help="All of a study and its tasks.")
@_of_top
@_stores
@_yes
@redis_option
@_storage
def rm(
    task: str | None,
    names: Sequence[str],
    study: str | None,
    top_k: int | None,
    stores: tuple[str, ...],
    yes: bool,
    redis_url: str | None,
    storage_url: str | None,
) -> None:
    """Remove artifacts: those of a task, some of them by NAME, or those of a study.

    Their bytes and their listing go. Optuna keeps its links to them, as it has no way to remove one.
    """
    if (task is None) == (study is None and top_k is None):
        raise BadInput("artifacts rm: say which: TASK [NAME …], or --study STUDY, or --top K")
    with _opened(redis_url, storage_url, study, task, stores=stores) as (found, chosen):
        listed = _choose(found, chosen, top_k)
        if names:
            listed = [_named(listed, str(task), name) for name in dict.fromkeys(names)]
        _remove(found, listed, yes)


@artifacts.command("gc")
@study_argument
@click.option(
    "--keep-top", type=click.IntRange(min=1), metavar="K",
    help="Also remove the artifacts of tasks that have ended and are not among the K best. "
    "[default: the sweep's artifacts.keep_top]",
)  # fmt: skip
@click.option(
    "--older-than", default=DEFAULT_AGE, show_default=True, metavar="TIME",
    help="Leave alone what was written within this time: it may not be listed yet.",
)  # fmt: skip
@click.option("--dry-run", is_flag=True, help="Only say what would go.")
@_stores
@_yes
@redis_option
@_storage
def gc(
    study: str | None,
    keep_top: int | None,
    older_than: str,
    dry_run: bool,
    stores: tuple[str, ...],
    yes: bool,
    redis_url: str | None,
    storage_url: str | None,
) -> None:
    """Remove everything in a study's part of the store that nothing refers to.

    Remains of crashed uploads are removed, too. A store that another Redis uses for a study of the same name
    holds artifacts that this one doesn't know: check with --dry-run first.
    """
    from controller.sweep.durations import parse_duration

    before = time.time() - parse_duration(older_than)
    with _opened(redis_url, storage_url, study, None, must_reach_optuna=True, stores=stores) as (found, _):
        record = found.study
        keep = keep_top or (record.sweep.get("artifacts") or {}).get("keep_top")
        stray = found.unlisted(before)
        # What objectives put into stores of their own belongs to them.
        outside = [one for one in (found.outside_top(int(keep)) if keep else ()) if found.is_here(one)]
        for key, size in stray:
            click.echo(f"unlisted  {size:>12}  {one_line(key)}")
        for one in outside:
            size = one.meta.size if one.meta else 0
            click.echo(f"not top {keep:<2} {size:>11}  task {one.owner[:8]} {one_line(one.name)}")
        if dry_run or not (stray or outside):
            click.echo(f"{len(stray)} unlisted, {len(outside)} outside the top: nothing removed")
            return
        if not yes:
            click.confirm(f"Remove these {len(stray) + len(outside)}?", abort=True)
        problems = found.remove(outside)
        problems += found.collect([key for key, _ in stray], before)
        gone = len(stray) + len(outside) - len(problems)
    click.echo(f"{gone} removed")
    if problems:
        raise OptunaRQError("\n".join(problems))


def remove_all(store: Store, settings: Settings, name: str, stores: Sequence[str]) -> list[str]:
    """Remove all artifacts of a study, for `controller delete --artifacts`; returns what went wrong.

    Args:
        stores: URLs of stores that its artifacts may be in, besides the study's own.
    """
    from controller.results.artifacts import Artifacts

    record = store.studies.get(name)
    found = Artifacts(store, record, optuna_study(record, settings), (*stores, settings.artifacts_url))
    return found.remove(found.all())


def _remove(found: Artifacts, listed: Sequence[Listed], yes: bool) -> None:
    if not listed:
        click.echo("nothing to remove")
        return
    for one in listed:
        click.echo(f"{one.owner[:8] or '(study)':<8}  {one_line(one.name)}")
    if not yes:
        click.confirm(
            f"Remove {'these' if len(listed) > 1 else 'this'} {len(listed)} artifact(s)?", abort=True
        )
    problems = found.remove(listed)
    click.echo(f"{len(listed) - len(problems)} removed")
    if problems:
        raise OptunaRQError("\n".join(problems))


@contextlib.contextmanager
def _opened(
    redis_url: str | None,
    storage_url: str | None,
    study: str | None,
    task: str | None,
    *,
    must_reach_optuna: bool = False,
    stores: Sequence[str | None] = (),
) -> Iterator[tuple[Artifacts, list[str] | None]]:
    """The artifacts of a study (or of a task's study), and the id of the task that was named, in a list.

    Args:
        stores: URLs of stores that they may be in, besides the study's own.
    """
    from controller.results.artifacts import Artifacts

    settings = resolve(redis_url, storage_url)
    with open_store(settings) as store:
        chosen = [pick_task(store, task)] if task else None
        name = study_of(store, chosen[0]) if chosen else pick_study(store, study)
        record = store.studies.find(name) if name else None
        optuna = optuna_study(record, settings, must=must_reach_optuna) if record else None
        named = [url for url in stores if url]
        yield Artifacts(store, record, optuna, (*named, settings.artifacts_url)), chosen


def optuna_study(record: StudyRecord, settings: Settings, *, must: bool = False) -> Any:
    """Optuna's study of a record; None if it isn't needed or can't be read.

    Args:
        must: read it for any kind of objective.

    Raises:
        BadInput: `must`, and it can't be read.
    """
    if not must and "optuna" not in (record.sweep.get("objective") or {}):
        return None  # all its artifacts are listed in the records
    from controller.search.study import existing_study, quiet_optuna

    quiet_optuna()
    try:
        return existing_study(record, study_storage(record, settings))
    except BadInput as problem:
        if must:
            raise
        click.echo(f"controller: what objectives have linked in Optuna is not shown: {problem}", err=True)
    return None


def _choose(found: Artifacts, chosen: list[str] | None, top_k: int | None) -> list[Listed]:
    if chosen is not None:
        return found.of_tasks(chosen)
    return found.all() if top_k is None else found.of_tasks(found.top(top_k))


def _named(listed: Sequence[Listed], task: str, name: str) -> Listed:
    """The artifact of that name or id. Raises `BadInput` if there is none."""
    for one in listed:
        if name in (one.name, one.artifact_id):
            return one
    there = ", ".join(one_line(one.name, 100) for one in listed[:100]) or "none"
    raise BadInput(f"task {task[:8]} has no artifact {name!r}; there are: {there}")
