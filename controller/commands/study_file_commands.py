"""``controller export`` and ``controller import``."""

from __future__ import annotations

from pathlib import Path

import click

from controller.commands.options import redis_option, storage_option, study_argument
from controller.commands.settings import open_redis, open_store, pick_study, resolve, study_storage
from controller.commands.who import person
from worker.protocol import Store
from worker.protocol.connection import connect
from worker.protocol.study_log import LogKind


@click.command("export")
@study_argument
@click.option(
    "--to",
    "path",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="Where to. [default: STUDY.study.gz]",
)
@click.option("--force", is_flag=True, help="Replace an existing file.")
@redis_option
@storage_option
def export(
    study: str | None, path: Path | None, force: bool, redis_url: str | None, storage_url: str | None
) -> None:
    """Write a whole study to one file: records, scalars, logs, trials, the list of its artifacts.

    For an archive, or to continue elsewhere with `controller import`. The artifacts' bytes are not in it.
    """
    from controller.studies.study_file import export_study
    from worker.artifacts.names import safe_name

    settings = resolve(redis_url, storage_url)
    with open_store(settings) as store:
        name = pick_study(store, study)
        target = path or Path(f"{safe_name(name)}.study.gz")
        url = study_storage(store.studies.get(name), settings)
        counts = export_study(store, name, url, target, overwrite=force)
    click.echo(f"study {name}: {counts.trials} trial(s) and {counts.tasks} task(s) written to {target}")


@click.command("import")
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
@click.option("--name", help="Another name than it had.")
@redis_option
@storage_option
def import_(file: Path, name: str | None, redis_url: str | None, storage_url: str | None) -> None:
    """Bring a study here that `controller export` has written.

    `controller start` with its sweep file continues it, unless it has ended.
    """
    from controller.control.journal import write_log
    from controller.studies.study_file import import_study

    settings = resolve(redis_url, storage_url)
    with open_redis(settings, create=True) as (url, _):
        store = Store(connect(url, patience_s=0, timeout_s=10.0))
        counts = import_study(store, file, settings.storage_url, name=name)
        write_log(store, counts.name, LogKind.NOTE, f"imported from {file.name}", by=person())
    click.echo(f"study {counts.name}: {counts.trials} trial(s) and {counts.tasks} task(s) imported")
