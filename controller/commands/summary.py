"""How a study has ended, for people: its best experiments, and what to do next."""

from __future__ import annotations

import os
import shlex
import shutil
import sys
from pathlib import Path

from rich.console import Console
from rich.markup import escape

from controller.commands.tables import table_of
from controller.results.tasks import why
from controller.results.top import find_top
from worker.protocol import Status, Store, StudyState
from worker.protocol.printable import one_line


def print_summary(screen: Console, store: Store, study: str, state: str, reason: str) -> None:
    """Show how a study ended."""
    counts = store.studies.status_counts(study)
    numbers = ", ".join(
        f"{counts[status]} {status.value}" for status in Status if counts[status] and status.is_finished
    )
    style = {StudyState.COMPLETED: "green", StudyState.FAILED: "red"}.get(state, "yellow")
    screen.print(
        f"study [bold]{escape(one_line(study))}[/] [{style}]{state}[/]: {escape(one_line(reason))} "
        f"({numbers or 'no trial ended'})"
    )
    top = find_top(store, store.studies.get(study), 5)
    rows = top.details
    if rows:
        screen.print(table_of(top.shown(), top.title))
    if state == StudyState.FAILED:
        for line in failures(store, study):
            screen.print(f"  [red]{escape(one_line(line))}[/]", soft_wrap=True)
    screen.print("Next:")
    lines = [f"top {shlex.quote(study)} -k 10 --all-metrics"]
    if rows:
        lines.append(f"show {rows[0]['task_id'][:8]}")
        lines.append(f"artifacts list --task {rows[0]['task_id'][:8]}")
    elif failed := store.studies.tasks(study, Status.FAILED):
        lines = [f"show {failed[0][:8]}", f"logs {failed[0][:8]}"]
    if state == StudyState.FAILED and counts[Status.FAILED]:
        lines.append("start <the same sweep file> --retry-failed        runs them again once mended")
    if state == StudyState.INTERRUPTED:
        lines.append("start <the same sweep file>        continues where this stopped")
    for line in lines:
        screen.print(f"  {escape(_called())} {escape(line)}", soft_wrap=True)


def _called() -> str:
    """How to call this program again from here: by its name if the shell finds it, else by its path."""
    program = Path(sys.argv[0])
    found = shutil.which("controller")
    if found and program.exists() and os.path.samefile(found, program):
        return "controller"
    if program.name != "controller":
        return "controller"
    return min(str(program), os.path.relpath(program), key=len)


def failures(store: Store, study: str) -> list[str]:
    """The reasons of the failed tasks, the most frequent first."""
    reasons: dict[str, int] = {}
    for record in store.tasks.get_many(store.studies.tasks(study, Status.FAILED)[:500]):
        if record:
            key = why(record)
            reasons[key] = reasons.get(key, 0) + 1
    ordered = sorted(reasons.items(), key=lambda item: -item[1])
    return [f"{count} × {reason}" for reason, count in ordered[:5]]
