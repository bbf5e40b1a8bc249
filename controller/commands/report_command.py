"""``controller report``."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from controller.commands.options import redis_option
from controller.commands.settings import open_store, pick_study, resolve

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
def report(
    study: str | None, path: str | None, output_format: str | None, force: bool, redis_url: str | None
) -> None:
    """Write one file that shows a study without a server: to be mailed, kept, or put into a pull request.

    The page has its plots, its tables and all that they need in it; it opens offline. STUDY is a study's
    name, or a file of `controller export`: then neither Redis nor a storage is needed.
    """
    from controller.report.writing import format_of, render, report_of_store, write
    from worker.artifacts.names import safe_name

    form = output_format or (format_of(path) if path else None) or "html"
    file = _study_file(study)
    if file is not None:
        from controller.studies.study_file_data import read_study_file

        data = read_study_file(file)
        name, text = data.study.name, render(data, form, acts=True)
    else:
        with open_store(resolve(redis_url)) as store:
            name = pick_study(store, study)
            text = report_of_store(store, name, form)
    if path == "-" or (path is None and form == "md"):
        sys.stdout.buffer.write(text.encode("utf-8", "replace"))
        return
    target = Path(path or f"{safe_name(name)}.html")
    write(text, target, overwrite=force)
    click.echo(f"study {name}: report written to {target}")


def _study_file(text: str | None) -> Path | None:
    """The study's file that an argument names; None where it is a study's name."""
    if text is None:
        return None
    path = Path(text)
    try:
        with open(path, "rb") as file:
            return path if file.read(2) == _GZIP or _is_path(text) else None
    except OSError:
        # `read_study_file` says what is wrong with what can only be a file.
        return path if _is_path(text) else None


def _is_path(text: str) -> bool:
    return text.endswith(".gz") or "/" in text
