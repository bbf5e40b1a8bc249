"""``controller explain``."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from controller.commands.options import format_option, redis_option, storage_option
from controller.commands.report_command import study_file
from controller.commands.settings import (
    Settings,
    open_store,
    pick_study,
    pick_task,
    resolve,
    study_storage,
)
from worker.protocol import Store, StudyRecord, TaskRecord
from worker.protocol.errors import BadInput
from worker.protocol.printable import one_line

if TYPE_CHECKING:
    from controller.insight.explain import TaskLife
    from controller.insight.explain_study import StudyAnswer


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
    file = study_file(what)
    if file is not None:
        answer = _of_file(file, number)
    else:
        with open_store(settings) as store:
            answer = _of_store(store, what, number, settings)
    if output_format == "json":
        print(json.dumps(answer.as_dict(), indent=2))
    else:
        _print(answer)


def _of_store(
    store: Store, what: str | None, number: int | None, settings: Settings
) -> TaskLife | StudyAnswer:
    from controller.insight.explain_reading import read_answer
    from worker.trials.storage import open_existing

    def opened(study: StudyRecord) -> Any:
        return open_existing(study_storage(study, settings))

    is_study = what is None or store.studies.find(what) is not None
    if is_study and number is None:
        return read_answer(store, pick_study(store, what), opened)
    return _life(store, _task(store, what, number, is_study=is_study), opened)


def _task(store: Store, what: str | None, number: int | None, *, is_study: bool) -> TaskRecord:
    """The task that is meant. Raises `BadInput` where there is none."""
    if is_study:
        name = pick_study(store, what)
        found = store.studies.of_trials(name, [number or 0])
        if not found:
            raise BadInput(f"study {name!r} has no trial {number}; `controller tasks` lists them")
        return store.tasks.get(found[0])
    if number is not None:
        raise BadInput(f"--trial wants a study: there is no study {what!r}")
    try:
        return store.tasks.get(pick_task(store, str(what)))
    except BadInput as error:
        raise BadInput(f"{error}; and there is no study of that name") from error


def _life(store: Store, record: TaskRecord, opened: Callable[[StudyRecord], Any]) -> TaskLife:
    from controller.insight.explain import explain_task
    from controller.insight.explain_reading import read_known

    return explain_task(read_known(store, record, opened))


def _of_file(file: Path, number: int | None) -> TaskLife | StudyAnswer:
    """The answer from a file of `controller export`. Raises `BadInput` for another file, or trial."""
    from controller.insight.explain import explain_task
    from controller.insight.explain_reading import known_of
    from controller.insight.explain_study import explain_study
    from controller.studies.study_file_data import read_study_file, read_trials

    data = read_study_file(file)
    if number is None:
        return explain_study(data)
    task = next((task for task in data.tasks if task.record.trial == number), None)
    if task is None:
        raise BadInput(f"{file}: it has no trial {number}")
    trial = next((trial for trial in read_trials(file) if trial.number == number), None)
    return explain_task(known_of(data, task.record, trial))


def _print(answer: TaskLife | StudyAnswer) -> None:
    from controller.insight.explain import TaskLife

    if isinstance(answer, TaskLife):
        _print_life(answer)
    else:
        _print_study(answer)


def _print_life(life: TaskLife) -> None:
    from controller.commands.tables import console, table_of

    out = console()
    trial = f"trial {life.trial} " if life.trial >= 0 else ""
    where = f" ({trial}of study {life.study})" if life.study else ""
    out.print(one_line(f"task {life.task_id}{where}: {life.status}"), markup=False, soft_wrap=True)
    out.print(table_of(life.rows()))
    for text in life.unknown:
        out.print(one_line(f"not known: {text}"), markup=False, soft_wrap=True)


def _print_study(answer: StudyAnswer) -> None:
    from controller.commands.tables import console, table_of
    from controller.results.durations import brief

    out = console()

    def line(text: str) -> None:
        out.print(one_line(text), markup=False, soft_wrap=True)

    bound = (
        f"its speed was bounded by {answer.bound}" if answer.bound else "what bounded its speed is not known"
    )
    line(f"study {answer.study}: {bound}")
    if answer.shares:
        slots = f"{answer.slots} slot{'' if answer.slots == 1 else 's'}"
        rows = [
            {"time of slots": row["part"], "share": f"{row['share']:.1%}", "time": brief(row["seconds"])}
            for row in answer.share_rows()
        ]
        out.print(table_of(rows, f"{slots}, {brief(answer.slot_s)} in all"))
    if answer.queued_text:
        line(answer.queued_text)
    if answer.decisions:
        rows = [{"decision": kind, "times": count} for kind, count in answer.decisions.items()]
        out.print(table_of(rows, "Decisions"))
    if answer.saved is not None:
        line(f"pruning: {answer.saved.text}")
    for text in answer.unknown:
        line(f"not known: {text}")
