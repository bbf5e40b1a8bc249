"""``controller forecast`` and ``controller suggest-workers``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

from controller.commands.options import format_option, redis_option, study_argument
from controller.commands.report_command import study_file
from controller.commands.settings import open_store, pick_study, resolve
from worker.protocol.printable import one_line

if TYPE_CHECKING:
    from controller.insight.forecast import Forecast

_SWEEPS = (".toml", ".yaml", ".yml")


@click.command()
@click.argument("what", metavar="[SWEEP | STUDY]", required=False)
@click.option(
    "--like",
    multiple=True,
    metavar="STUDY",
    help="Of a SWEEP: an earlier study, or its file; several may be.",
)
@click.option(
    "--trial-time", metavar="TIME[..TIME]", help='Of a SWEEP: how long a trial takes, as "5m" or "5m..20m".'
)
@click.option("--slots", type=click.IntRange(1), help="Slots that run trials; by default those there are.")
@redis_option
@format_option(("table", "json"), "table")
def forecast(
    what: str | None,
    like: tuple[str, ...],
    trial_time: str | None,
    slots: int | None,
    redis_url: str | None,
    output_format: str,
) -> None:
    """When a study ends and what it costs: the middle, and an interval that holds four of five ends.

    The rest of the study is simulated, from how long its trials have taken. Before a run, of a SWEEP file,
    that comes from earlier studies, by default those with the same objective, or from --trial-time.
    """
    if what is not None and what.endswith(_SWEEPS) and Path(what).is_file():
        found = _of_sweep(Path(what), like, trial_time, slots, redis_url)
    elif like or trial_time:
        raise click.UsageError("--like and --trial-time are for a sweep file")
    else:
        found = _of_study(what, slots, redis_url)
    if output_format == "json":
        print(json.dumps(found.as_dict(), indent=2))
    else:
        _print(found)


def _of_study(what: str | None, slots: int | None, redis_url: str | None) -> Forecast:
    from controller.insight.forecast_reading import forecast_data, forecast_study

    file = study_file(what)
    if file is not None:
        from controller.studies.study_file_data import read_study_file

        return forecast_data(read_study_file(file))
    with open_store(resolve(redis_url)) as store:
        return forecast_study(store, pick_study(store, what), slots)


def _of_sweep(
    path: Path, like: tuple[str, ...], trial_time: str | None, slots: int | None, redis_url: str | None
) -> Forecast:
    from controller.insight.forecast_before import forecast_sweep, stated
    from controller.sweep import load_sweep

    sweep = load_sweep(path)
    if trial_time is not None:
        if like:
            raise click.UsageError("--like and --trial-time exclude each other")
        return forecast_sweep(sweep, stated(trial_time, sweep), slots, f"stated times: {trial_time}")
    from controller.insight.forecast_before import earlier_trials, slots_of, trials_of
    from controller.studies.study_file_data import read_study_file

    files = [file for name in like if (file := study_file(name))]
    names = [name for name in like if study_file(name) is None]
    known = trials_of([read_study_file(file) for file in files])
    words = [str(file) for file in files]
    if names or not files or slots is None:
        with open_store(resolve(redis_url)) as store:
            slots = slots or slots_of(store, sweep.queue.name)
            if names or not files:
                trials, used = earlier_trials(store, sweep, [pick_study(store, name) for name in names])
                known, words = (*known, *trials), [*words, *used]
    return forecast_sweep(sweep, known, slots, f"{len(known)} trials of {', '.join(words)}")


@click.command(name="suggest-workers")
@study_argument
@click.option(
    "--by", required=True, metavar="TIME", help='When it is to end: "18:00", "3h", "2026-05-01 18:00".'
)
@redis_option
@format_option(("table", "json"), "table")
def suggest_workers(study: str | None, by: str, redis_url: str | None, output_format: str) -> None:
    """How many slots a study needs from now on to end in time, in four of five cases."""
    from controller.insight.forecast_workers import deadline, suggest

    with open_store(resolve(redis_url)) as store:
        name = pick_study(store, study)
        found = suggest(store, name, deadline(by, store.clock.now()))
    if output_format == "json":
        print(json.dumps(found.as_dict(), indent=2))
    else:
        from controller.commands.tables import console

        console().print(one_line(found.text), markup=False, soft_wrap=True)


def _print(found: Forecast) -> None:
    from controller.commands.tables import console, table_of

    out = console()

    def line(text: str) -> None:
        out.print(one_line(text), markup=False, soft_wrap=True)

    rows = found.rows()
    if rows:
        out.print(table_of(rows, f"Forecast of {found.study}: 80 % end within these"))
        slots = f"{found.slots} slot{'' if found.slots == 1 else 's'}"
        line(f"on {slots}, from {found.rests_on}; ends by: {found.reason_text()}")
    for text in found.unknown:
        line(f"not known: {text}" if not rows or not text.startswith("nothing") else text)
