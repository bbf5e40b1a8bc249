"""``controller acl``."""

from __future__ import annotations

import os

import click


@click.command()
@click.option(
    "--queue", "-q", "queues", multiple=True, metavar="NAME", default=("default",), show_default=True,
    help="Queue of the studies; may be repeated.",
)  # fmt: skip
@click.option(
    "--format", "output_format", type=click.Choice(("conf", "commands")), default="conf", show_default=True,
    help="Lines of redis.conf or of an ACL file, or commands for redis-cli.",
)  # fmt: skip
def acl(queues: tuple[str, ...], output_format: str) -> None:
    """Print the rules of two Redis users: `controller`, and `worker`, which may do less.

    Their passwords come from OPTUNA_RQ_CONTROLLER_PASSWORD and OPTUNA_RQ_WORKER_PASSWORD, or from the files
    that these with _FILE name; printed is their SHA-256. A user without one is off.

    \b
      controller acl --queue gpu >> redis.conf
      controller acl --format commands | redis-cli
    """
    from controller.commands.acl import users

    for user in users(queues):
        rule = user.rule(os.environ)
        click.echo(f"ACL SETUSER {rule.removeprefix('user ')}" if output_format == "commands" else rule)
        if " off " in rule:
            click.echo(f"controller: {user.variable} is not set: user {user.name} is off", err=True)
