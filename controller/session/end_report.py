"""The report at a study's end: ``[study] report``."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from pathlib import Path

from controller.report.writing import format_of, report_of_store, write
from controller.results.artifacts import Artifacts
from controller.search.study import existing_study
from worker.protocol import Store
from worker.protocol.printable import one_line
from worker.trials.storage import open_existing

log = logging.getLogger(__name__)


def write_end_report(store: Store, study: str, path: Path, storage: str, note: Callable[[str], None]) -> None:
    """Write the report of a study that has ended to a file, and keep it as an artifact of the study.

    What goes wrong is one note: a study does not fail for want of a report.

    Args:
        storage: URL of Optuna's storage, where the artifact is linked.
        note: takes a line for people.
    """
    done = ""
    try:
        text = report_of_store(store, study, format_of(path) or "html", lambda _: open_existing(storage))
        write(text, path, overwrite=False)
        done = f"report written to {os.path.relpath(path)}"
        record = store.studies.get(study)
        Artifacts(store, record, existing_study(record, storage)).put(path, path.name)
    except Exception as error:
        log.debug("study %s: report", study, exc_info=True)
        why = one_line(str(error) or type(error).__name__, 300)
        again = f"`controller report {study} -o FILE` writes one"
        note(f"{done}; it is not among the artifacts: {why}" if done else f"no report: {why}; {again}")
    else:
        note(f"{done}, and kept as artifact {path.name}")
