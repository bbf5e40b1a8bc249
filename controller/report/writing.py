"""Writes a report, which is there whole or not at all."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from controller.insight.explain_reading import with_reasons
from controller.report.facts import gather
from controller.report.markdown import BEGINS, to_markdown
from controller.report.sections import insight_of
from controller.results.curves import read_curves
from controller.results.study_data import MOST_EVENTS, StudyData, read_study
from worker.artifacts.atomic import replacing
from worker.protocol import Store, StudyRecord, keys
from worker.protocol.errors import BadInput

if TYPE_CHECKING:
    from optuna.storages import BaseStorage

FORMATS = ("html", "md")
GENERATOR = b'<meta name="generator" content="optuna-rq'
MOST_CURVES = 1000
"""Trials whose learning curves are read: the best half of them, and of the others every so many."""
_EXTRAS = ("jinja2", "markupsafe", "plotly")
_SUFFIXES = {".html": "html", ".htm": "html", ".md": "md", ".markdown": "md"}


def format_of(path: Path | str) -> str | None:
    """The format that a file's name asks for; None for a name that asks for none."""
    return _SUFFIXES.get(Path(path).suffix.lower())


def report_of_store(
    store: Store, study: str, form: str, open_storage: Callable[[StudyRecord], BaseStorage]
) -> str:
    """The report of a study in Redis.

    Args:
        form: one of `FORMATS`.
        open_storage: Optuna's storage of a study, which has the reasons of its decisions; what it raises is
            told as what is not known.

    Raises:
        BadInput: there is no such study, or a package is missing; says which.
    """
    data = read_study(store, study).with_events(store.study_log.last(study, MOST_EVENTS))
    data = data.with_surroundings(store.surroundings.of_study(study))
    data = with_reasons(data, open_storage)
    acts = bool(store.redis.exists(keys.study_lock(study)))
    if form == "html":
        data = data.with_curves(read_curves(store, _with_curves(data)))
    return render(data, form, acts=acts)


def _with_curves(data: StudyData) -> list[str]:
    """Ids of the tasks whose learning curves the report has."""
    ids = [task.record.id for task in data.tasks]
    if len(ids) <= MOST_CURVES:
        return ids
    best = [trial.task for trial in gather(data, acts=False, top_k=MOST_CURVES // 2).best]
    kept = {*best, *ids[:: -(-len(ids) // (MOST_CURVES - len(best)))]}
    return [task_id for task_id in ids if task_id in kept]


def render(data: StudyData, form: str, *, acts: bool) -> str:
    """The report of a study that has been read.

    Args:
        data: with its learning curves; Markdown does without.
        form: one of `FORMATS`.
        acts: whether a controller acts on the study.

    Raises:
        BadInput: a package is missing; says which.
    """
    facts = gather(data, acts=acts, importances=_importances(data))
    sections = insight_of(data)
    if form == "md":
        return to_markdown(facts, sections)
    try:
        from controller.report.page import to_html  # noqa: PLC0415 - extras, and long to import
    except ImportError as error:
        package = (error.name or "").partition(".")[0]
        if package not in _EXTRAS:
            raise
        raise BadInput(
            f"report: {package} isn't installed: pip install 'optuna-rq[dashboard]', or use --format md"
        ) from error
    return to_html(facts, data, sections)


def _importances(data: StudyData) -> dict[str, dict[str, float]]:
    """Objective → parameter → how much it matters; empty where nobody can tell."""
    from controller.figures.by_optuna import importances_of  # noqa: PLC0415 - Optuna takes long to import

    found = {metric.key: importances_of(data, place) for place, metric in enumerate(data.objectives)}
    return {key: shares for key, shares in found.items() if shares}


def refuse_taken(path: Path, *, overwrite: bool) -> None:
    """Raise `BadInput` if what is at `path` is no report, unless `overwrite`: before any work is done."""
    try:
        if not overwrite and path.exists() and not is_report(path):
            raise _taken(path)
    except OSError as error:
        raise BadInput(f"{path}: {error.strerror or error}") from error


def write(text: str, path: Path, *, overwrite: bool) -> None:
    """Write a report to a file, in the place of an earlier report.

    Args:
        overwrite: in the place of any file.

    Raises:
        BadInput: something else is there, or it can't be written.
    """
    try:
        with replacing(path, overwrite=overwrite or is_report(path)) as partial:
            # What is half a character in a name is no text that a file can hold.
            partial.write_text(text, encoding="utf-8", errors="replace", newline="\n")
    except FileExistsError as error:
        raise _taken(path) from error
    except OSError as error:
        raise BadInput(f"{path}: {error.strerror or error}") from error


def _taken(path: Path) -> BadInput:
    return BadInput(f"{path} exists, and is no report: name another file, or replace it with --force")


def is_report(path: Path) -> bool:
    """Whether a file is a report that we have written. Raises `OSError` if it can't be read."""
    try:
        with open(path, "rb") as file:
            begins = file.read(4096)
    except FileNotFoundError:
        return False
    return GENERATOR in begins or begins.startswith(BEGINS.encode())
