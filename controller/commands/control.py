"""Commands to a running study: ``stop``, ``pause``, ``resume``."""

from __future__ import annotations

from dataclasses import replace

import click

from controller.commands.options import redis_option, study_argument
from controller.commands.settings import has_controller, open_store, pick_study, pick_task, resolve
from worker.protocol import FINISHED, OPEN, Reason, Store, StudyState
from worker.protocol.errors import BadInput


@click.command()
@study_argument
@click.option("--task", help="Stop one task only: its id, or the beginning of it.")
@redis_option
def stop(study: str | None, task: str | None, redis_url: str | None) -> None:
    """End a study, or one task, in order: what runs is asked to stop, then made to."""
    with open_store(resolve(redis_url)) as store:
        if task:
            record = store.transitions.request_stop(pick_task(store, task), Reason.USER, "stopped by hand")
            over = record.status in FINISHED
            click.echo(f"task {record.id[:8]}: {record.status if over else 'asked to stop'}")
            return
        name = pick_study(store, study)
        if not has_controller(store, name):
            stopped = _stop_without_controller(store, name)
            click.echo(f"study {name}: no controller acts on it; {stopped} open task(s) asked to stop")
            return
        store.studies.request(name, "stop")
        click.echo(f"study {name}: its controller was asked to stop it")


def _stop_without_controller(store: Store, name: str) -> int:
    open_tasks = [task_id for status in OPEN for task_id in store.studies.tasks(name, status)]
    for task_id in open_tasks:
        store.transitions.request_stop(task_id, Reason.STUDY_STOPPED, "stopped by hand")
    record = store.studies.get(name)
    if record.state not in (StudyState.COMPLETED, StudyState.FAILED):
        store.studies.save(replace(record, state=StudyState.STOPPED, reason="stopped by hand"))
    return len(open_tasks)


@click.command()
@study_argument
@redis_option
def pause(study: str | None, redis_url: str | None) -> None:
    """Launch no more jobs for now; running tasks continue."""
    _ask(study, redis_url, "pause")


@click.command()
@study_argument
@redis_option
def resume(study: str | None, redis_url: str | None) -> None:
    """Launch jobs again after `pause`."""
    _ask(study, redis_url, "resume")


def _ask(study: str | None, redis_url: str | None, request: str) -> None:
    with open_store(resolve(redis_url)) as store:
        name = pick_study(store, study)
        if not has_controller(store, name):
            raise BadInput(
                f"study {name!r}: no controller acts on it; `controller start` with its sweep file "
                "continues it"
            )
        store.studies.request(name, request)
        click.echo(f"study {name}: its controller was asked to {request}")
