"""``controller report``."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from controller.commands.options import redis_option, storage_option
from controller.commands.settings import Settings, open_store, pick_study, resolve, study_storage

_GZIP = b"\x1f\x8b"


@click.command()
@click.argument("study", required=False)
@click.option(
    "-o", "--to", "path", metavar="FILE",
    help="Where to; - for standard output. [default: STUDY.html; for md standard output]",
)  # fmt: skip
@click.option(
    "--format", "output_format", type=click.Choice(("html", "md")),
    help="A page with plots, or Markdown for a pull request. [default: as FILE's name says, else html]",
)  # fmt: skip
@click.option("--force", is_flag=True, help="Replace a file that is no report.")
@redis_option
@storage_option
def report(
    study: str | None,
    path: str | None,
    output_format: str | None,
    force: bool,
    redis_url: str | None,
    storage_url: str | None,
) -> None:
    """Write one file that shows a study without a server: to be mailed, kept, or put into a pull request.

    The page has its plots, its tables and all that they need in it; it opens offline. STUDY is a study's
    name, or a file of `controller export`: then neither Redis nor a storage is needed.
    """
    from controller.report.writing import format_of, refuse_taken, write

    form = output_format or (format_of(path) if path else None) or "html"
    if path not in (None, "-"):
        refuse_taken(Path(str(path)), overwrite=force)
    name, text = _rendered(study, form, resolve(redis_url, storage_url))
    if path == "-" or (path is None and form == "md"):
        sys.stdout.buffer.write(text.encode("utf-8", "replace"))
        return
    target = Path(path or _default_file(name))
    write(text, target, overwrite=force)
    click.echo(f"study {name}: report written to {target}")


def _rendered(study: str | None, form: str, settings: Settings) -> tuple[str, str]:
    """Name and report of the study that an argument names, from its file or from Redis."""
    from controller.report.writing import render, report_of_store

    file = study_file(study)
    if file is not None:
        from controller.studies.study_file_data import read_study_file

        data = read_study_file(file)
        return data.study.name, render(data, form, acts=True)
    from worker.trials.storage import open_existing

    with open_store(settings) as store:
        name = pick_study(store, study)
        text = report_of_store(
            store, name, form, lambda record: open_existing(study_storage(record, settings))
        )
        return name, text


def _default_file(study: str) -> str:
    from worker.artifacts.names import safe_name

    return f"{safe_name(study)}.html"


def study_file(text: str | None) -> Path | None:
    """The study's file that an argument names; None where it is a study's name, which may have slashes."""
    if text is None:
        return None
    path = Path(text)
    is_path = text.endswith(".gz") or text.startswith(("/", "./", "../"))
    try:
        with open(path, "rb") as file:
            return path if is_path or file.read(2) == _GZIP else None
    except OSError:
        return path if is_path else None  # reading it says what is wrong
