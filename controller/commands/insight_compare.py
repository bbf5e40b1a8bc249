"""``controller compare`` and ``controller diff``."""

from __future__ import annotations

import contextlib
import json
from typing import TYPE_CHECKING

import click

from controller.commands.options import format_option, redis_option
from controller.commands.report_command import study_file
from controller.commands.settings import open_store, pick_task, resolve
from worker.protocol import Store
from worker.protocol.errors import BadInput
from worker.protocol.printable import one_line

if TYPE_CHECKING:
    from controller.results.study_data import StudyData


@click.command()
@click.argument("studies", nargs=-1, required=True, metavar="STUDY STUDY")
@click.option(
    "--against", multiple=True, metavar="STUDY",
    help="A study of the other side; repeatable. All STUDY arguments are one side then.",
)  # fmt: skip
@click.option("--objective", metavar="METRIC", help="Of several objectives: by which. [default: the first]")
@redis_option
@format_option(("table", "json"), "table")
def compare(
    studies: tuple[str, ...],
    against: tuple[str, ...],
    objective: str | None,
    redis_url: str | None,
    output_format: str,
) -> None:
    """Which of two searches was better: the best so far over trials and over cost.

    STUDY is a study's name, a pattern of names ('tpe-*': a side of several studies, with other seeds, gets
    intervals), or a file of `controller export`.
    """
    from controller.insight.compare import compare_studies
    from controller.insight.compare_reading import read_side

    if not against and len(studies) != 2:
        raise BadInput(
            f"compare: two studies, not {len(studies)}; quote a pattern ('tpe-*'), or name the other side "
            "by --against"
        )
    left, right = (studies, against) if against else ((studies[0],), (studies[1],))
    with contextlib.ExitStack() as stack:
        stores: list[Store] = []

        def opened() -> Store:
            if not stores:
                stores.append(stack.enter_context(open_store(resolve(redis_url))))
            return stores[0]

        found = compare_studies(
            read_side(left, opened, _from_file), read_side(right, opened, _from_file), objective
        )
    if output_format == "json":
        print(json.dumps(found.as_dict(), indent=2))
        return
    from controller.commands.tables import console, table_of

    out = console()
    out.print(table_of(found.side_rows(), f"{found.objective}, the best so far"))
    if found.settings:
        rows = [
            {"setting": name, "A": _shown(first), "B": _shown(second)}
            for name, (first, second) in found.settings.items()
        ]
        out.print(table_of(rows, "Settings that differ"))
    for over in ("trials", "cost"):
        if rows := found.rows(over):
            out.print(table_of(rows, f"Over {over}"))
    for text in (*(verdict.text for verdict in found.verdicts), *found.notes):
        out.print(one_line(text), markup=False, soft_wrap=True)


def _from_file(text: str) -> StudyData | None:
    file = study_file(text)
    if file is None:
        return None
    from controller.studies.study_file_data import read_study_file

    return read_study_file(file)


def _shown(value: object) -> str:
    return "" if value is None else json.dumps(value, ensure_ascii=False)


@click.command()
@click.argument("first", metavar="TASK")
@click.argument("second", metavar="TASK")
@redis_option
@format_option(("table", "json"), "table")
def diff(first: str, second: str, redis_url: str | None, output_format: str) -> None:
    """What differs between two tasks: parameters, code, surroundings, results and curves.

    TASK is a task's id, or the beginning of it; the two may be of different studies.
    """
    from controller.insight.diff import diff_tasks

    with open_store(resolve(redis_url)) as store:
        found = diff_tasks(store, pick_task(store, first), pick_task(store, second))
    if output_format == "json":
        print(json.dumps(found.as_dict(), indent=2))
        return
    from controller.commands.tables import console, table_of

    out = console()

    def line(text: str) -> None:
        out.print(one_line(text), markup=False, soft_wrap=True)

    for name, record in zip("AB", found.compared.tasks, strict=True):
        where = f" (trial {record.trial} of study {record.study})" if record.study else ""
        line(f"{name}: task {record.id}{where}: {record.status.value}")
    out.print(table_of(found.rows(), "What differs"))
    alike = len(found.compared.alike)
    code = "" if found.code_that_differs else "; the code is the same"
    line(f"{alike} parameter{'' if alike == 1 else 's'} alike{code}")
    for apart in found.curves:
        line(f"curve {apart.metric}: {apart.said()}")
    if found.unknown:
        line(f"not known: {found.unknown}")
    elif not found.surroundings:
        line("the surroundings are the same")
