"""The ``worker`` command."""

from __future__ import annotations

import logging
import os
import signal
import sys
from typing import Any

import click

from worker import __version__
from worker.process.logs import configure
from worker.process.parent_death import PARENT_VARIABLE, die_with_parent
from worker.protocol.errors import OptunaRQError
from worker.runner.check import check_storage
from worker.runner.objective import shadowing
from worker.slot.daemon import Daemon
from worker.slot.settings import DEFAULT_DRAIN_S, resolve


@click.command(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.option(
    "--queue",
    "-q",
    "queues",
    multiple=True,
    metavar="NAME",
    help="Queue to serve, in order of preference; may be repeated. [default: default]",
)
@click.option("--slots", "-n", type=int, default=1, show_default=True, help="Attempts to run at a time.")
@click.option(
    "--redis",
    "redis_url",
    metavar="URL",
    help="Redis to work for. [env: REDIS_URL; default: the embedded one of this folder, if there is one]",
)
@click.option(
    "--artifacts", metavar="URL", help="Artifact store, if not the study's own. [env: ARTIFACT_STORE]"
)
@click.option(
    "--storage",
    "storage_url",
    metavar="URL",
    help="Optuna's storage, for objectives that take Optuna's trial. [env: OPTUNA_STORAGE]",
)
@click.option("--burst", is_flag=True, help="End when the queues are empty.")
@click.option(
    "--idle",
    "idle_s",
    type=int,
    metavar="SECONDS",
    help="End when no job has come for so long. [default: never]",
)
@click.option(
    "--drain",
    "drain_s",
    type=float,
    default=DEFAULT_DRAIN_S,
    show_default=True,
    metavar="SECONDS",
    help="After the first signal, let running attempts finish for so long, then hand them back.",
)
@click.option(
    "--name", metavar="NAME", help="Name to be known by. [default: host, process id and random digits]"
)
@click.option(
    "--share-redis",
    is_flag=True,
    help="Give programs REDIS_URL, so that they can drive other tasks, as an optimizer's script does.",
)
@click.option("--wait", is_flag=True, help="Wait for a Redis that can't be reached yet, rather than end.")
@click.option(
    "--gpus",
    metavar="LIST",
    help="GPUs to share out among the slots, such as 0,1, or all. [default: the environment's]",
)
@click.option(
    "--threads",
    type=int,
    metavar="N",
    help="OMP_NUM_THREADS of each program. [default: the environment's; of several slots, an even share]",
)
@click.option(
    "--memory", metavar="SIZE", help="What one task may use, such as 4GB; one that takes more is ended."
)
@click.option(
    "--allow",
    multiple=True,
    metavar="PATTERN",
    help="Run only such objectives, e.g. 'train.*'; may be repeated. [env: OPTUNA_RQ_ALLOW; default: all]",
)
@click.option(
    "--insecure",
    is_flag=True,
    envvar="OPTUNA_RQ_INSECURE",
    help="Serve a Redis on another machine that has no password, and take unsigned jobs from it. "
    "[env: OPTUNA_RQ_INSECURE]",
)
@click.option(
    "--metrics-port",
    metavar="[HOST:]PORT",
    help="Answer /livez, /readyz and /metrics (Prometheus) here; HOST is 127.0.0.1 unless given.",
)
@click.option(
    "--log-level",
    type=click.Choice(["debug", "info", "warning", "error"]),
    default="info",
    show_default=True,
    help="How much to say on standard error.",
)
@click.version_option(__version__, prog_name="worker (optuna-rq)")
def command(log_level: str, **options: Any) -> None:
    """Run the trials of optuna-rq studies on this machine.

    The worker takes tasks from Redis queues and runs their objectives, each in a process of its own, in
    the current folder: modules and scripts lying here are found. It streams scalars and output to Redis
    and pushes artifacts to the study's store.

    \b
    Ctrl-C or SIGTERM once    finish what runs, or hand it back after --drain seconds
    a second time             hand back now

    \b
    Examples:
      REDIS_URL=redis://head:6379/0 worker --slots 4
      worker --queue gpu --queue default --slots 2 --gpus 0,1

    \b
    Secrets come from the environment, or from files: REDIS_URL or REDIS_URL_FILE, OPTUNA_STORAGE(_FILE),
    and OPTUNA_RQ_SECRET(_FILE), with which jobs are signed when it is set for the controller.
    """
    configure(log_level.upper())
    settings = resolve(**options)
    for path in shadowing(settings.folder):
        logging.getLogger(__name__).warning(
            "%s has the name of one of optuna-rq's packages: function objectives can't import it; rename it",
            path,
        )
    parent = os.environ.pop(PARENT_VARIABLE, None)
    if settings.storage_url and not parent:
        check_storage(settings.storage_url)
    if parent:
        die_with_parent(int(parent), signal.SIGTERM)
    sys.exit(Daemon(settings).run())


def main() -> None:
    """Console entry point: one clear line for what a user can mend."""
    try:
        command.main(standalone_mode=False)
    except click.ClickException as error:
        error.show()
        sys.exit(2)
    except click.Abort:
        sys.exit(130)
    except OptunaRQError as error:
        for line in str(error).splitlines():
            click.echo(f"worker: {line}", err=True)
        sys.exit(error.exit_code)


if __name__ == "__main__":
    main()
