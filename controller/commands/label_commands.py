"""``controller tag`` and ``controller note``: what people say about tasks."""

from __future__ import annotations

import sys

import click

from controller.commands.options import redis_option
from controller.commands.settings import open_store, pick_task, resolve
from controller.commands.who import person
from worker.protocol.errors import BadInput
from worker.protocol.printable import lines, one_line

_MARK = "\ue000"
"""Stands before what begins with a dash and is no option, while click looks at it."""


class _Tags(click.Command):
    """A command whose arguments may begin with a dash."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        options = {name for parameter in self.get_params(ctx) for name in parameter.opts}
        return super().parse_args(
            ctx,
            [
                f"{_MARK}{each}" if each.startswith("-") and each.partition("=")[0] not in options else each
                for each in args
            ],
        )


@click.command(cls=_Tags)
@click.argument("task")
@click.argument("tags", nargs=-1)
@redis_option
def tag(task: str, tags: tuple[str, ...], redis_url: str | None) -> None:
    """Add tags to a task, and remove them: `controller tag TASK +good -bad`.

    TASK is its id, or the beginning of it; it may have ended. Without TAGS, those that it has are shown.
    `controller tasks --where '"good" in tags'` finds it.
    """
    from controller.control.labels import tag_task

    given = [each.removeprefix(_MARK) for each in tags]
    for each in given:
        if each[:1] not in ("+", "-"):
            raise BadInput(f"tag {each!r}: write +{each} to add it, -{each} to remove it")
    add = [each[1:] for each in given if each.startswith("+")]
    remove = [each[1:] for each in given if each.startswith("-")]
    with open_store(resolve(redis_url)) as store:
        task_id = pick_task(store, task)
        if given:
            click.echo(one_line(tag_task(store, task_id, add=add, remove=remove, by=person())))
        else:
            for each in store.tasks.get(task_id).all_tags:
                click.echo(one_line(each))


@click.command()
@click.argument("task")
@click.argument("text", required=False)
@click.option("--remove", is_flag=True, help="Remove the note.")
@redis_option
def note(task: str, text: str | None, remove: bool, redis_url: str | None) -> None:
    """Write a task's note, in place of the one that it had: `controller note TASK "converges late"`.

    TASK is its id, or the beginning of it; it may have ended. TEXT may be - for what standard input says.
    Without TEXT, the note is shown.
    """
    from controller.control.labels import note_task

    if remove and text:
        raise BadInput("note: give a TEXT or --remove, not both")
    if text == "":
        raise BadInput("note: the TEXT is empty; --remove removes a note")
    with open_store(resolve(redis_url)) as store:
        task_id = pick_task(store, task)
        if text or remove:
            words = sys.stdin.read() if text == "-" else text or ""
            click.echo(note_task(store, task_id, words, by=person()))
        elif found := store.tasks.get(task_id).note:
            click.echo(lines(found))
