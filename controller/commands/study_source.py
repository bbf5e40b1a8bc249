"""A study that a command reads: by its name from Redis, or from a file of `controller export`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from controller.commands.report_command import study_file
from controller.commands.settings import open_store, pick_study, resolve

if TYPE_CHECKING:
    from controller.results.study_data import StudyData


def read_named(study: str | None, redis_url: str | None) -> tuple[StudyData, list[str]]:
    """The study that an argument names, without learning curves, and the names of all studies beside it.

    Args:
        study: a name or a file; None for the newest study.

    Raises:
        BadInput: there is no such study, or the file can't be read.
    """
    file = study_file(study)
    if file is not None:
        from controller.studies.study_file_data import read_study_file

        return read_study_file(file), []
    from controller.results.study_data import read_study

    with open_store(resolve(redis_url)) as store:
        return read_study(store, pick_study(store, study)), list(store.studies.names())
