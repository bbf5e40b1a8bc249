"""Commands to a running study: ``stop``, ``pause``, ``resume``, ``budget``, ``enqueue``."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from typing import Any, TypeVar

import click

from controller.commands.options import format_option, redis_option, study_argument
from controller.commands.settings import open_store, pick_study, pick_task, resolve
from controller.commands.who import person
from worker.protocol.errors import BadInput


@click.command()
@study_argument
@click.option("--task", help="Stop one task only: its id, or the beginning of it.")
@redis_option
def stop(study: str | None, task: str | None, redis_url: str | None) -> None:
    """End a study, or one task, in order: what runs is asked to stop, then made to."""
    from controller.control import stop_study, stop_task

    with open_store(resolve(redis_url)) as store:
        if task:
            click.echo(stop_task(store, pick_task(store, task), by=person()))
        else:
            click.echo(stop_study(store, pick_study(store, study), by=person()))


@click.command()
@study_argument
@redis_option
def pause(study: str | None, redis_url: str | None) -> None:
    """Launch no more jobs for now; running tasks continue."""
    from controller.control import pause_study

    with open_store(resolve(redis_url)) as store:
        click.echo(pause_study(store, pick_study(store, study), by=person()))


@click.command()
@study_argument
@redis_option
def resume(study: str | None, redis_url: str | None) -> None:
    """Launch jobs again after `pause`."""
    from controller.control import resume_study

    with open_store(resolve(redis_url)) as store:
        click.echo(resume_study(store, pick_study(store, study), by=person()))


F = TypeVar("F", bound=Callable[..., Any])
_LIMIT = 'or "none" for no limit.'


def _with_hidden(*names: str) -> Callable[[F], F]:
    """Options for limits that can't be edited: they are taken for the sake of the answer, which says why."""

    def add(command: F) -> F:
        for name in names:
            command = click.option(f"--{name.replace('_', '-')}", hidden=True, help="It can't be edited.")(
                command
            )
        return command

    return add


@click.command()
@study_argument
@click.option("--max-trials", metavar="N", help=f"Trials in all, {_LIMIT}")
@click.option("--max-concurrent", metavar="N", help=f"Tasks at once, {_LIMIT}")
@click.option("--max-failures", metavar="N", help=f"Failed trials that end the study, {_LIMIT}")
@click.option("--total-compute", metavar="TIME", help=f'Time over all attempts, such as "20h", {_LIMIT}')
@click.option("--wall-clock", metavar="TIME", help=f'Time from the study\'s start, such as "2h", {_LIMIT}')
@click.option("--time-per-trial", metavar="TIME", help=f"Time of each trial created from now on, {_LIMIT}")
@click.option("--min-iterations", metavar="N", help="Iterations that a trial has before it is pruned.")
@_with_hidden("max_iterations", "max_attempts", "retry_on", "lease", "first_failures")
@click.option("--reset", is_flag=True, help="Take all edits back.")
@redis_option
@format_option(("table", "json"), "table")
def budget(study: str | None, redis_url: str | None, reset: bool, output_format: str, **limits: str) -> None:
    """Show the budget of a study, or edit it, whether the study runs or not.

    A running controller takes an edit over at once; a study without one, at its next start. The edit holds
    until it is taken back, or until the study is started with another limit than the one that was edited.
    """
    from controller.control import edit_budget, reset_budget

    wanted = {name: text for name, text in limits.items() if text is not None}
    with open_store(resolve(redis_url)) as store:
        name = pick_study(store, study)
        if reset and wanted:
            raise BadInput("budget: --reset takes all edits back; leave out the limits, or --reset")
        if reset or wanted:
            done = reset_budget(store, name, by=person()) if reset else None
            click.echo(done or edit_budget(store, name, wanted, by=person()))
            return
        from controller.results.budgets import budget_report
        from controller.results.status import budget_rows

        report = budget_report(store, name)
    if output_format == "json":
        print(json.dumps(report, indent=2))
        return
    from controller.commands.tables import console, show

    show(budget_rows(report["budget"]), "table", title=f"Budget of study {name}")
    for about in report["edits"]:
        console().print(about["text"], markup=False)


@click.command()
@study_argument
@click.argument("parameters", nargs=-1, metavar="NAME=VALUE…")
@redis_option
def enqueue(study: str | None, parameters: tuple[str, ...], redis_url: str | None) -> None:
    """Have a study try a configuration next; the sampler chooses what it leaves out.

    Values are written as in the sweep file (0.01, true, '["a", 1]'); what is none of these is text. One JSON
    object in the place of all, `{"lr": 0.01}`, or - for one on standard input, is read as well. The
    configuration is a trial like others: the budget counts it, and what was tried is not tried again.
    """
    from controller.control import enqueue as run

    if study is not None and ("=" in study or study.startswith("{")):
        raise BadInput("enqueue: name the STUDY first: controller enqueue STUDY lr=0.01")
    given = _configuration(parameters)
    with open_store(resolve(redis_url)) as store:
        click.echo(run(store, pick_study(store, study), given, by=person()))


def _configuration(parameters: tuple[str, ...]) -> dict[str, Any]:
    """Name → value, from ``name=value`` each or one JSON object. Raises `BadInput`."""
    from controller.sweep.overrides import toml_value

    if len(parameters) == 1 and (parameters[0] == "-" or parameters[0].lstrip().startswith("{")):
        text = sys.stdin.read() if parameters[0] == "-" else parameters[0]
        try:
            read = json.loads(text)
        except ValueError as error:
            raise BadInput(f"enqueue: this is no JSON: {error}") from error
        if not isinstance(read, dict):
            raise BadInput('enqueue: give a JSON object, such as {"lr": 0.01}')
        return read
    found: dict[str, Any] = {}
    for each in parameters:
        name, is_given, text = each.partition("=")
        if not is_given or not name.strip():
            raise BadInput(f"enqueue: {each!r:.100} is not NAME=VALUE, such as lr=0.01")
        if name.strip() in found:
            raise BadInput(f"enqueue: {name.strip()} is given twice")
        try:
            found[name.strip()] = toml_value(text.strip())
        except ValueError as error:
            raise BadInput(f"enqueue: {name.strip()}: {error}") from error
    return found
