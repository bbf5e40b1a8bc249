"""Commands that remove trials or a whole study: ``rewind``, ``delete``."""

from __future__ import annotations

import click

from controller.commands.artifact_commands import remove_all
from controller.commands.options import redis_option, storage_option
from controller.commands.settings import Settings, has_controller, open_store, resolve, study_storage
from controller.commands.who import person
from worker.protocol import Store
from worker.protocol.errors import BadInput, OptunaRQError
from worker.protocol.study_log import LogKind


@click.command()
@click.argument("study")
@click.option(
    "--trial", type=click.IntRange(min=0), required=True, metavar="N", help="The last that stays, from 0."
)
@click.option("--backup/--no-backup", default=True, show_default=True, help="Copy Optuna's study first.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@redis_option
@storage_option
def rewind(
    study: str, trial: int, backup: bool, yes: bool, redis_url: str | None, storage_url: str | None
) -> None:
    """Take a study back to one of its trials: later ones are discarded, and `start` continues from there.

    For trials that have ended and are worth nothing, as after an error in the data. A seeded study suggests
    the same again. The artifacts of discarded tasks stay until `controller artifacts gc`.
    """
    from controller.control.journal import write_log
    from controller.studies.rewind import rewind as run

    settings = resolve(redis_url, storage_url)
    with open_store(settings) as store:
        record = store.studies.get(study)
        url = study_storage(record, settings)
        if not yes:
            click.confirm(f"Discard all trials of study {record.name} after {trial}?", abort=True)
        gone, copied = run(store, record.name, url, trial, backup=backup)
        text = f"{gone} trial(s) after {trial} discarded"
        write_log(store, record.name, LogKind.NOTE, text, by=person())
    click.echo(f"study {record.name}: {gone} trial(s) discarded" + (f"; backup: {copied}" if copied else ""))


@click.command()
@click.argument("study")
@click.option("--artifacts", "with_artifacts", is_flag=True, help="Remove its artifacts as well.")
@click.option(
    "--store", "stores", multiple=True, metavar="URL",
    help="With --artifacts: a store where some are, too, because workers had another one; repeatable.",
)  # fmt: skip
@click.option("--trials", "with_trials", is_flag=True, help="Remove Optuna's study with its trials as well.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@redis_option
@storage_option
def delete(
    study: str,
    with_artifacts: bool,
    stores: tuple[str, ...],
    with_trials: bool,
    yes: bool,
    redis_url: str | None,
    storage_url: str | None,
) -> None:
    """Remove a study's records from Redis: tasks, scalars, logs.

    Optuna's trials stay, unless --trials is given: a new study of that name continues with them. Its
    artifacts stay, too, unless --artifacts is given; without their records nothing lists them.
    """
    settings = resolve(redis_url, storage_url)
    with open_store(settings) as store:
        name = store.studies.get(study).name
        if has_controller(store, name):
            raise BadInput(f"study {name!r} is running; stop it first: controller stop {name}")
        if not yes:
            what = " and ".join(
                ["all records", *["all artifacts"] * with_artifacts, *["all trials"] * with_trials]
            )
            click.confirm(f"Remove {what} of study {name}?", abort=True)
        problems = remove_all(store, settings, name, stores) if with_artifacts else []
        if problems:
            problems.insert(0, f"study {name}: its records are kept, as not all artifacts went:")
            raise OptunaRQError("\n".join(problems))
        trials = _delete_trials(store, name, settings) if with_trials else 0
        count = store.studies.delete(name)
        click.echo(
            f"study {name}: {count} task(s) removed" + (f", {trials} trial(s) as well" if with_trials else "")
        )


def _delete_trials(store: Store, name: str, settings: Settings) -> int:
    """Remove a study from Optuna's storage; returns how many trials it had."""
    import optuna

    from controller.search.study import find_study, quiet_optuna
    from worker.trials.storage import open_existing

    quiet_optuna()
    url = study_storage(store.studies.get(name), settings)
    storage = open_existing(url)
    study = find_study(storage, name)
    if study is None:
        return 0
    count = len(study.get_trials(deepcopy=False))
    optuna.delete_study(study_name=name, storage=storage)
    return count
