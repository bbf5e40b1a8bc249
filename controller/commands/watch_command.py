"""``controller watch``: the command; what it does is in `controller.commands.watch`."""

from __future__ import annotations

import sys

import click

from controller.commands.options import format_option, redis_option, study_argument
from controller.commands.settings import open_store, pick_study, resolve


@click.command()
@study_argument
@redis_option
@format_option(("rich", "json"), "rich")
def watch(study: str | None, redis_url: str | None, output_format: str) -> None:
    """Follow a study from any machine, as `controller start` shows it, until it ends.

    It reads Redis only: it works while no controller runs, and waits for a Redis that is away. Ctrl-C ends
    the watching, not the study. With ``--format json`` each change is a line.

    Exit codes: 0 the study has ended, 1 it failed or was deleted, 130 by Ctrl-C.
    """
    from controller.commands.watch import watch as follow

    with open_store(resolve(redis_url)) as store:
        code = follow(store, pick_study(store, study), output_format)
    sys.exit(code)
