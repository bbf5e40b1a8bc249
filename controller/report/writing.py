"""Writes a report, which is there whole or not at all."""

from __future__ import annotations

from pathlib import Path

from controller.report.facts import gather
from controller.report.markdown import to_markdown
from controller.results.study_data import StudyData
from worker.artifacts.atomic import replacing
from worker.protocol.errors import BadInput

FORMATS = ("html", "md")
_SUFFIXES = {".html": "html", ".htm": "html", ".md": "md", ".markdown": "md"}


def format_of(path: Path | str) -> str | None:
    """The format that a file's name asks for; None for a name that asks for none."""
    return _SUFFIXES.get(Path(path).suffix.lower())


def render(data: StudyData, form: str, *, acts: bool) -> str:
    """The report of a study.

    Args:
        data: with its learning curves; Markdown does without.
        form: one of `FORMATS`.
        acts: whether a controller acts on the study.

    Raises:
        BadInput: a package is missing; says which.
    """
    facts = gather(data, acts=acts)
    if form == "md":
        return to_markdown(facts, {})
    from controller.report.page import to_html  # noqa: PLC0415 - an extra, and long to import

    return to_html(facts, data, {})


def write(text: str, path: Path, *, overwrite: bool) -> None:
    """Write a report to a file. Raises `BadInput` if it exists, unless `overwrite`, or can't be written."""
    try:
        with replacing(path, overwrite=overwrite) as partial:
            # What is half a character in a name is no text that a file can hold.
            partial.write_text(text, encoding="utf-8", errors="replace", newline="\n")
    except FileExistsError as error:
        raise BadInput(f"{path} exists; give --force to replace it") from error
    except OSError as error:
        raise BadInput(f"{path}: {error.strerror or error}") from error
