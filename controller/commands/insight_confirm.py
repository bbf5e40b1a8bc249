"""``controller confirm``."""

from __future__ import annotations

import json
import os
import sys
from contextlib import ExitStack
from typing import TYPE_CHECKING

import click

from controller.commands.options import format_option, redis_option, storage_option
from controller.commands.report_command import study_file
from controller.commands.settings import Settings, open_redis, open_store, pick_study, resolve

if TYPE_CHECKING:
    from controller.insight.confirm_answer import Confirmation

MOST = 1000


@click.command()
@click.argument("study", required=False)
@click.option(
    "-k", "count", type=click.IntRange(1, MOST), default=5, show_default=True, help="How many of the best."
)
@click.option(
    "--seeds", type=click.IntRange(2, MOST), default=5, show_default=True,
    help="Most repeats of each, with a seed each.",
)  # fmt: skip
@click.option(
    "--workers", type=click.IntRange(min=0), metavar="N",
    help="Local workers to start. [default: one per CPU with the embedded Redis, else 0]",
)  # fmt: skip
@click.option("--max-concurrent", type=click.IntRange(min=1), metavar="N", help="Repeats at once.")
@click.option("--show", "only_show", is_flag=True, help="Run nothing: show what is known by now.")
@redis_option
@storage_option
@format_option(("table", "json"), "table")
def confirm(
    study: str | None,
    count: int,
    seeds: int,
    workers: int | None,
    max_concurrent: int | None,
    only_show: bool,
    redis_url: str | None,
    storage_url: str | None,
    output_format: str,
) -> None:
    """Is the winner really the best? Run a study's best configurations again, with other seeds.

    What is clearly worse gets no more repeats. Each ends with its mean, an interval, and its probability of
    being the best. The repeats are tasks of the study that its search never sees. Whatever happens, the same
    command goes on where it was. STUDY may be a file of `controller export`: then nothing is run.
    """
    settings = resolve(redis_url, storage_url)
    file = study_file(study)
    if file is not None:
        from controller.insight.confirm import confirmation_in
        from controller.studies.study_file_data import read_study_file

        _print(confirmation_in(read_study_file(file)), output_format)
    elif only_show:
        from controller.insight.confirm import read_confirmation

        with open_store(settings) as store:
            _print(read_confirmation(store, store.studies.get(pick_study(store, study))), output_format)
    else:
        sys.exit(_run(settings, study, count, seeds, workers, max_concurrent, output_format))


def _run(
    settings: Settings,
    study: str | None,
    count: int,
    seeds: int,
    workers: int | None,
    most: int | None,
    output_format: str,
) -> int:
    """Run it to its end, and print the answer. Returns the exit code."""
    from controller.insight.confirm import read_confirmation
    from controller.loop.backend import Backend
    from controller.loop.logged_observer import LoggedObserver
    from controller.loop.observer import Notes
    from controller.session.confirming import Confirming, ConfirmLimits, check_confirmable, choose, lease_of
    from controller.session.interrupts import Interrupts
    from controller.session.local_workers import local_workers
    from controller.session.lock import StudyLock
    from worker.sdk.home import Home

    interrupts, notes = Interrupts(), Notes(lambda text: click.echo(text, err=True))
    with ExitStack() as stack:
        stack.enter_context(interrupts.installed())
        url, embedded = stack.enter_context(open_redis(settings, create=False))
        home = Home(url, settings.artifacts_url, settings.folder, embedded)
        backend = Backend(url, settings.storage_url, settings.artifacts_url, home=home)
        record = backend.store.studies.get(pick_study(backend.store, study))
        lock = StudyLock(backend.store, record.name, lease_of(record))

        def waits(holder: str) -> None:
            notes.note(f"controller {holder} acts on study {record.name!r}; waiting for its end")

        if not lock.acquire(wait=True, on_wait=waits, stopped=interrupts.pending):
            return 130
        stack.callback(lock.release)
        record = backend.store.studies.get(record.name)
        plan = choose(backend, record, count, seeds)
        check_confirmable(record, plan)
        if workers is None:
            workers = (os.cpu_count() or 1) if settings.embedded else 0
        local = local_workers(backend, workers, record.queue)
        local.start()
        stack.callback(lambda: local.stop(at_once=interrupts.pending()))
        notes.workers = local
        observer = LoggedObserver(notes, backend.store, record.name, lock.name)
        limits = ConfirmLimits(max_concurrent=most)
        confirming = Confirming(
            backend, record, plan, observer, lock=lock, limits=limits, stopped=interrupts.pending
        )
        confirming.run()
        observer.end()
        _print(read_confirmation(backend.store, record), output_format)
    return 130 if interrupts.count or lock.lost else 0


def _print(answer: Confirmation | None, output_format: str) -> None:
    if output_format == "json":
        print(json.dumps(None if answer is None else answer.as_dict(), indent=2))
        return
    if answer is None:
        click.echo("nothing was confirmed: `controller confirm STUDY` does")
        return
    from controller.commands.tables import show
    from controller.insight.confirm_rows import rows_of

    show(rows_of(answer), "table", title=f"{answer.study}: the best {len(answer.configurations)}, confirmed")
    for sentence in answer.words:
        click.echo(sentence)
