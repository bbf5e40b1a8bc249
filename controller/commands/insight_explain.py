"""``controller explain``."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import click

from controller.commands.options import format_option, redis_option, storage_option
from controller.commands.settings import (
    Settings,
    open_store,
    pick_task,
    resolve,
    study_storage,
)
from worker.protocol import Store, StudyRecord, TaskRecord
from worker.protocol.printable import one_line

if TYPE_CHECKING:
    from controller.insight.explain import TaskLife


@click.command()
@click.argument("what", metavar="[TASK | STUDY]", required=False)
@click.option("--trial", "number", type=click.IntRange(min=0), help="Trial of STUDY that is explained.")
@redis_option
@storage_option
@format_option(("table", "json"), "table")
def explain(
    what: str | None, number: int | None, redis_url: str | None, storage_url: str | None, output_format: str
) -> None:
    """Why a task is as it is: its life as a timeline of decisions, each with what it rested on.

    Of a STUDY: what bounded its speed, what was decided how often, what pruning saved. TASK is a task's id,
    or the beginning of it.
    """
    settings = resolve(redis_url, storage_url)
    with open_store(settings) as store:
        task = _task(store, what, number)
        life = _life(store, task, settings)
    if output_format == "json":
        print(json.dumps(life.as_dict(), indent=2))
    else:
        _print_life(life)


def _task(store: Store, what: str | None, number: int | None) -> TaskRecord:
    return store.tasks.get(pick_task(store, what or ""))


def _life(store: Store, record: TaskRecord, settings: Settings) -> TaskLife:
    from controller.insight.explain import explain_task
    from controller.insight.explain_reading import open_checked, read_known

    def opened(study: StudyRecord) -> Any:
        return open_checked(study_storage(study, settings))

    return explain_task(read_known(store, record, opened))


def _print_life(life: TaskLife) -> None:
    from controller.commands.tables import console, table_of

    out = console()
    where = f" (trial {life.trial} of study {life.study})" if life.study else ""
    out.print(one_line(f"task {life.task_id}{where}: {life.status}"), markup=False, soft_wrap=True)
    out.print(table_of(life.rows()))
    for text in life.unknown:
        out.print(one_line(f"not known: {text}"), markup=False, soft_wrap=True)
