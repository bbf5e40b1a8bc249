"""``controller worker``: commands to a worker on another machine."""

from __future__ import annotations

import click

from controller.commands.options import redis_option
from controller.commands.settings import open_store, resolve
from controller.commands.who import person

_reason = click.option("--reason", default="", metavar="TEXT", help="Why, as `controller status` shows it.")


@click.group()
def worker() -> None:
    """Have a worker pause, drain, or take jobs again. NAME is as `controller status` shows it."""


@worker.command()
@click.argument("name")
@_reason
@redis_option
def pause(name: str, reason: str, redis_url: str | None) -> None:
    """Take no new jobs until `resume`; what runs goes on."""
    from controller.control import pause_worker

    with open_store(resolve(redis_url)) as store:
        click.echo(pause_worker(store, name, reason=reason, by=person()))


@worker.command()
@click.argument("name")
@_reason
@redis_option
def drain(name: str, reason: str, redis_url: str | None) -> None:
    """Take no new jobs, and end when what runs has ended, however long that takes."""
    from controller.control import drain_worker

    with open_store(resolve(redis_url)) as store:
        click.echo(drain_worker(store, name, reason=reason, by=person()))


@worker.command()
@click.argument("name")
@redis_option
def resume(name: str, redis_url: str | None) -> None:
    """Take jobs again, whether a person or a controller has paused it."""
    from controller.control import resume_worker

    with open_store(resolve(redis_url)) as store:
        click.echo(resume_worker(store, name, by=person()))
