"""``controller events``: the log of a study."""

from __future__ import annotations

import json

import click

from controller.commands.options import redis_option, study_argument, table_option
from controller.commands.settings import open_store, pick_study, resolve
from worker.protocol.printable import one_line

WAIT_MS = 1000
"""Longest wait for the next entry, in milliseconds: how soon Ctrl-C is noticed on a quiet connection."""


@click.command()
@study_argument
@click.option(
    "-n", "count", type=click.IntRange(min=1), default=100, show_default=True,
    help="At most so many, the newest.",
)  # fmt: skip
@click.option("-f", "--follow", is_flag=True, help="Keep printing what comes, until Ctrl-C.")
@redis_option
@table_option
def events(study: str | None, count: int, follow: bool, redis_url: str | None, output_format: str) -> None:
    """What happened to a study: starts, pauses, lost workers, edits, each with who did it.

    With --follow there is a line for each; with --format json that is an object.
    """
    from controller.commands.tables import show
    from controller.results.study_events import event_rows, study_events

    with open_store(resolve(redis_url)) as store:
        name = pick_study(store, study)
        if not follow:
            rows = study_events(store, name, count)
            shown = [{field: row[field] for field in ("at", "kind", "text", "by")} for row in rows]
            show(
                shown if output_format == "table" else rows,
                output_format,
                raw=rows,
                title=f"Events of study {name}",
            )
            return
        found = store.study_log.last(name, count)
        position = found[-1].id if found else "0-0"
        while True:
            for row in event_rows(found):
                click.echo(json.dumps(row) if output_format == "json" else _line(row))
            found, position = store.study_log.read(name, position, WAIT_MS)


def _line(row: dict[str, str]) -> str:
    by = f" ({row['by']})" if row["by"] else ""
    return one_line(f"{row['at']} {row['kind']}: {row['text']}{by}")
