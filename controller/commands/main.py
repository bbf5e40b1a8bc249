"""The ``controller`` command: its subcommands, and how it reports errors."""

from __future__ import annotations

import contextlib
import logging
import sys

import click
import redis

from controller.commands.acl_command import acl
from controller.commands.artifact_commands import artifacts
from controller.commands.control import budget, enqueue, pause, resume, stop
from controller.commands.dashboard_command import dashboard
from controller.commands.events_command import events
from controller.commands.insight_best import best
from controller.commands.insight_compare import compare, diff
from controller.commands.insight_confirm import confirm
from controller.commands.insight_explain import explain
from controller.commands.insight_forecast import forecast, suggest_workers
from controller.commands.insight_importance import importance, refine
from controller.commands.insight_replay import replay
from controller.commands.insight_reproduce import reproduce, surroundings
from controller.commands.label_commands import note, tag
from controller.commands.pipes import OUTPUT, PIPE_CLOSED, Commands, PipeClosed
from controller.commands.questions import logs, show, status, tasks, top
from controller.commands.report_command import report
from controller.commands.start_command import start
from controller.commands.study_commands import delete, rewind
from controller.commands.study_file_commands import export, import_
from controller.commands.watch_command import watch
from controller.commands.worker_commands import worker
from worker import __version__
from worker.process.logs import CurrentStderr, OneLine
from worker.protocol.connection import can_pass, trouble
from worker.protocol.errors import OptunaRQError
from worker.protocol.printable import one_line

LONGEST_LINE = 10_000
"""Characters of one line of an error that are shown."""


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, prog_name="controller (optuna-rq)")
def command() -> None:
    """Tune hyper-parameters on your own machines: Optuna asks, RQ carries, workers train.

    \b
    One machine:      controller start sweep.toml
    Several:          REDIS_URL=… ARTIFACT_STORE=s3://… controller start sweep.toml      (head node)
                      REDIS_URL=… worker --slots 4                                       (compute nodes)
    Then, anywhere:   controller top -k 5

    Without REDIS_URL a Redis of its own is kept in .optuna-rq/ of the current folder, and used by the
    other commands called there. Most commands take the STUDY's name; without it, the newest is meant.

    Exit codes: 0 fine, 1 the study failed, 2 bad input, 130 interrupted; 1 also while a server is away, and
    141 when nobody reads the output any more.
    """


for _subcommand in (
    start, status, watch, top, tasks, show, logs, events, stop, pause, resume, budget, tag, note,
    enqueue, worker, rewind, delete,
    explain, replay, forecast, suggest_workers, importance, refine, confirm, compare, diff,
    best, reproduce, surroundings,
    acl, artifacts, export, import_, report, dashboard,
):  # fmt: skip
    command.add_command(_subcommand)


def main() -> None:
    """Console entry point: one clear line for what a user can fix, and the exit codes that the help lists."""
    for stream in (sys.stdout, sys.stderr):
        # A terminal that can't show a character gets a "?" for it; the study must not end.
        with contextlib.suppress(AttributeError, ValueError):
            stream.reconfigure(errors="replace")  # type: ignore[union-attr] # text streams only
    handler = CurrentStderr()
    handler.setFormatter(OneLine("%(levelname)s %(message)s"))
    logging.basicConfig(level=logging.WARNING, handlers=[handler])
    try:
        code = _run()
        sys.stdout.flush()
    except (BrokenPipeError, PipeClosed):
        OUTPUT.drop()
    sys.exit(PIPE_CLOSED if OUTPUT.closed else code)


def _run() -> int | str | None:
    """Run the command that was called; returns its exit code, after a line for what a user can fix."""
    try:
        command.main(standalone_mode=False)
    except SystemExit as ended:
        return ended.code
    except click.ClickException as error:
        error.show()
        return 2
    except (click.Abort, KeyboardInterrupt):
        return 130
    except OptunaRQError as error:
        for line in str(error).rstrip("\n").split("\n"):
            click.echo(f"controller: {one_line(line, LONGEST_LINE)}", err=True)
        return error.exit_code
    except redis.RedisError as error:
        denied = isinstance(error, redis.exceptions.NoPermissionError)
        text = trouble(error) if denied or can_pass(error) else f"Redis: {error}"
        click.echo(f"controller: {one_line(text, LONGEST_LINE)}", err=True)
        return 2 if denied else 1
    except Exception as error:
        if type(error).__module__.split(".")[0] not in ("optuna", "sqlalchemy"):
            raise
        first = next(iter(str(error).splitlines()), type(error).__name__)
        click.echo(f"controller: Optuna's storage: {one_line(first, LONGEST_LINE)}", err=True)
        return 1
    return 0


if __name__ == "__main__":
    main()
