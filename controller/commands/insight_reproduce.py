"""``controller reproduce``, ``controller surroundings``."""

from __future__ import annotations

import json
import sys
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import click

from controller.commands.options import format_option, redis_option, storage_option
from controller.commands.report_command import study_file
from controller.commands.settings import Settings, open_redis, open_store, pick_study, pick_task, resolve
from worker.protocol.errors import BadInput
from worker.protocol.printable import lines, one_line

if TYPE_CHECKING:
    from controller.insight.reproduction import Reproduction
    from controller.loop.backend import Backend
    from worker.protocol import TaskRecord
    from worker.protocol.recorded_surroundings import RecordedSurroundings

MOST_SHOWN = 40
"""Rows of a table of differences."""


@click.command()
@click.argument("task")
@click.option("--here", is_flag=True, help="On a worker of its own on this machine, in the current folder.")
@click.option("--queue", metavar="NAME", help="On a worker of this queue. [default: the task's own]")
@click.option("--no-wait", is_flag=True, help="Don't wait for its end; --compare compares later.")
@click.option("--compare", is_flag=True, help="Run nothing; compare with the runs made before.")
@click.option(
    "-y", "--yes", is_flag=True, help="With --here: don't ask before running what a shared Redis says."
)
@redis_option
@storage_option
@format_option(("table", "json"), "table")
def reproduce(
    task: str,
    here: bool,
    queue: str | None,
    no_wait: bool,
    compare: bool,
    yes: bool,
    redis_url: str | None,
    storage_url: str | None,
    output_format: str,
) -> None:
    """Run a task again, and say how far the results differ, and what of the surroundings does.

    The same parameters, code ([code] of the sweep file; otherwise what is there now), limits and seed, as a
    task of its own outside the study: nothing there counts it. TASK is its id, or the beginning of it. With
    the embedded Redis it runs here.

    Exit codes: 0 it was compared, 1 the second run failed.
    """
    settings = resolve(redis_url, storage_url)
    _check_options(here, queue, no_wait, compare)
    if compare:
        with open_store(settings) as store:
            from controller.insight.reproduction import compare as compared
            from controller.insight.reproduction import repeats_of

            source = store.tasks.get(pick_task(store, task))
            found = [compared(store, source, record) for record in repeats_of(store, source)]
        if not found:
            raise BadInput(f"task {source.id[:8]} has not been run again; leave --compare out to do so")
        _print_all(found, output_format)
        return
    outcome = _run(settings, task, here or (settings.embedded and queue is None), queue, no_wait, yes)
    if isinstance(outcome, str):
        print(json.dumps({"reproduction": outcome}) if output_format == "json" else outcome)
        return
    _print_all([outcome], output_format)
    if outcome.second.status.value == "failed":
        sys.exit(1)


def _check_options(here: bool, queue: str | None, no_wait: bool, compare: bool) -> None:
    if here and queue is not None:
        raise BadInput("reproduce: --here has a queue of its own; leave --here or --queue out")
    if here and no_wait:
        raise BadInput("reproduce: the worker of --here ends with this command; leave --no-wait out")
    if compare and (here or queue is not None or no_wait):
        raise BadInput("reproduce: --compare runs nothing; leave --here, --queue and --no-wait out")


def _run(
    settings: Settings, task: str, here: bool, queue: str | None, no_wait: bool, yes: bool
) -> Reproduction | str:
    """Run it; how it compares, or with `no_wait` its id."""
    from controller.insight.reproduction import compare, repeat_of
    from controller.loop.backend import Backend
    from controller.session.reproducing import as_launched, launch, wait_for, worker_here
    from worker.protocol.queues import check_queue_name
    from worker.sdk.home import Home

    with ExitStack() as stack:
        url, embedded = stack.enter_context(open_redis(settings, create=False))
        home = Home(url, settings.artifacts_url, settings.folder, embedded)
        backend = Backend(url, settings.storage_url, settings.artifacts_url, home=home)
        recorded = backend.store.tasks.get(pick_task(backend.store, task))
        source = as_launched(backend, recorded)
        wanted = check_queue_name(queue or source.spec.queue)
        repeat_of(source, wanted, 0.0)  # before a worker is started for it
        if here:
            _agree(backend, settings, source, yes)
            wanted = stack.enter_context(worker_here(backend))
        repeat = launch(backend, repeat_of(source, wanted, backend.clock.now()))
        if no_wait:
            return repeat.id
        where = "here" if here else f"on queue {wanted}"
        _note(f"task {source.id[:8]} runs again as {repeat.id[:8]}, {where}")
        return compare(backend.store, recorded, wait_for(backend, repeat, _note))


def _note(text: str) -> None:
    click.echo(one_line(text), err=True)


def _agree(backend: Backend, settings: Settings, source: TaskRecord, yes: bool) -> None:
    """Ask before what others may have written into a shared Redis is run here. Raises `BadInput`."""
    if settings.embedded or backend.launcher.signs or yes:
        return
    shown = json.dumps(source.spec.objective, ensure_ascii=False)
    _note(f"jobs are not signed, so that workers may have changed what this Redis says; it is to run {shown}")
    if not sys.stdin.isatty():
        raise BadInput("reproduce --here: give --yes to run that on this machine, or --queue for a worker")
    if not click.confirm("Run it on this machine?", err=True):
        raise BadInput("reproduce: nothing was run")


def _print_all(found: list[Reproduction], output_format: str) -> None:
    if output_format == "json":
        values = [one.as_dict() for one in found]
        print(json.dumps(values[0] if len(values) == 1 else values, indent=2))
        return
    for one in found:
        _print(one)


def _print(found: Reproduction) -> None:
    from controller.commands.tables import console, table_of

    out = console()

    def say(text: str) -> None:
        out.print(one_line(text), markup=False, soft_wrap=True)

    say(f"task {found.first.id[:8]} run again as {found.second.id[:8]}: {found.verdict}")
    rows = [
        {
            "metric": pair.metric,
            "iteration": pair.iteration,
            "first": pair.before,
            "again": pair.after,
            "difference": pair.difference,
            "%": None if pair.relative is None else 100 * pair.relative,
            "part at": pair.first_difference,
            "at most": pair.largest,
        }
        for pair in found.metrics[:MOST_SHOWN]
    ]
    if rows:
        out.print(table_of(rows))
    if found.surroundings is None:
        say(f"what they ran in can't be compared: it is not recorded of {found.unknown}")
    elif not found.surroundings:
        say("both ran in the same surroundings")
    else:
        shown = [one.as_dict() for one in found.surroundings[:MOST_SHOWN]]
        out.print(table_of([_row(one) for one in shown], "What differs of the surroundings"))
        if len(found.surroundings) > MOST_SHOWN:
            say(f"and {len(found.surroundings) - MOST_SHOWN} more; all with --format json")
    if not found.first.spec.code:
        say(
            "the study did not bring its code ([code] in the sweep file): the code that is there now was run,"
            " which may be another"
        )


def _row(difference: dict[str, str]) -> dict[str, str]:
    return {
        "what": difference["what"],
        "first": difference["before"] or "-",
        "again": difference["after"] or "-",
    }


@click.command()
@click.argument("study", required=False)
@redis_option
@format_option(("table", "json", "pip", "diff"), "table")
def surroundings(study: str | None, redis_url: str | None, output_format: str) -> None:
    """What a study ran in: git's commit and what differed from it, packages, Python, drivers, hosts.

    As its first controller found it; of later controllers and of workers what differed from that. With
    ``--format pip`` the packages for ``pip install -r``, with ``diff`` what differed from the commit, without
    what looks like a secret. STUDY may be a file of `controller export`.
    """
    file = study_file(study)
    if file is not None:
        from controller.studies.study_file_data import read_study_file

        data = read_study_file(file)
        name, found = data.study.name, data.surroundings
    else:
        with open_store(resolve(redis_url)) as store:
            name = pick_study(store, study)
            found = store.surroundings.of_study(name)
    if found.first is None and output_format != "json":
        raise BadInput(
            f"study {one_line(name)}: its surroundings are not recorded; an earlier version began it"
        )
    if output_format == "json":
        from controller.insight.surroundings import described

        print(json.dumps({"study": name, **described(found)}, indent=2))
    elif output_format == "pip":
        print(found.first.requirements() if found.first else "", end="")
    elif output_format == "diff":
        print(lines(str(found.diff.get("text", ""))))
    else:
        _print_surroundings(name, found)


def _print_surroundings(name: str, found: RecordedSurroundings) -> None:
    from controller.commands.tables import console, table_of
    from controller.insight.surroundings import deviations, facts

    rows: list[dict[str, Any]] = [{"what": what, "value": text} for what, text in facts(found)]
    out = console()
    out.print(table_of(rows, f"Surroundings of study {name}"))
    for who, differing in deviations(found):
        if not differing:
            continue
        shown = [_row(one.as_dict()) for one in differing[:MOST_SHOWN]]
        title = f"{who} differs in"
        if len(differing) > MOST_SHOWN:
            title += f" ({len(differing) - MOST_SHOWN} more with --format json)"
        out.print(table_of(shown, title))
