"""Commands that ask and change nothing: ``status``, ``top``, ``tasks``, ``show``, ``logs``."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Mapping
from typing import Any

import click

from controller.commands.options import format_option, redis_option, study_argument, table_option
from controller.commands.settings import open_store, pick_study, pick_task, resolve
from worker.protocol import FINISHED, Status, Store, StudyRecord, TaskRecord
from worker.protocol.clock import iso
from worker.protocol.errors import BadInput
from worker.protocol.printable import one_line, output


@click.command()
@study_argument
@redis_option
@table_option
def status(study: str | None, redis_url: str | None, output_format: str) -> None:
    """How a study stands: its state, its budgets, its workers."""
    from controller.commands.tables import console, show, table_of
    from controller.results.durations import spoken
    from controller.results.status import ENDED, best_lines, budget_rows, describe_study, worker_rows
    from controller.screen.layout import Paragraph

    with open_store(resolve(redis_url)) as store:
        report = describe_study(store, pick_study(store, study))
    if output_format == "json":
        print(json.dumps(report, indent=2))
        return
    if output_format == "csv":
        show([{"budget": name, **values} for name, values in report["budget"].items()], "csv")
        return
    out = console()

    def line(text: str) -> None:
        if out.is_terminal:
            out.print(Paragraph(one_line(text)))
        else:
            out.print(one_line(text), markup=False, soft_wrap=True)

    why = f" ({report['reason']})" if report["reason"] else ""
    line(f"study {report['study']}: {report['state']}{why}")
    line(
        f"objective {', '.join(report['objectives'])} · queue {report['queue']} · "
        f"controller {report['controller'] or '-'}"
    )
    line("tasks: " + (", ".join(f"{n} {s}" for s, n in report["tasks"].items() if n) or "none yet"))
    line(f"time: {spoken(report['elapsed_s'])}{_left(report)}")
    for text in best_lines(report):
        line(text)
    rows = budget_rows(report["budget"])
    if rows:
        out.print(table_of(rows, "Budgets"))
    if report["workers"]:
        out.print(table_of(worker_rows(report["workers"]), f"Workers of queue {report['queue']}"))
    elif report["state"] not in ENDED:
        line(f"no worker serves queue {report['queue']!r}")


def _left(report: Mapping[str, Any]) -> str:
    """What is left of the budgets, and how long that lasts."""
    from controller.results.durations import spoken

    left = "; left: " + ", ".join(report["left"]) if report["left"] else ""
    if report["forecast_text"]:
        return f"{left}; {report['forecast_text']}"
    if report["left"] and report["remaining_s"] is not None:
        left += f" (about {spoken(report['remaining_s'])} at this rate)"
    return left


def _check_plot(plot: bool, output_format: str) -> None:
    """Raises `BadInput` where ``--plot`` comes with a format for programs."""
    if plot and output_format != "table":
        raise BadInput(f"--plot draws for people; leave out --plot or --format {output_format}")


def _plots(store: Store, record: StudyRecord | TaskRecord) -> list[Any]:
    """A study or a task, drawn; plotext is imported only for that."""
    from controller.commands.plots import study_plots, task_plots

    return task_plots(store, record) if isinstance(record, TaskRecord) else study_plots(store, record.name)


@click.command()
@study_argument
@click.option("-k", "top_k", type=click.IntRange(min=1), default=5, show_default=True, help="How many.")
@click.option("--all-metrics", is_flag=True, help="All scalar metrics, not just the objective's.")
@click.option("--all-hyper-parameters", is_flag=True, help="All parameters, not just the searched ones.")
@click.option("--only-completed", is_flag=True, help="Only tasks that completed.")
@click.option("--front", is_flag=True, help="Of several objectives: the whole Pareto front, whatever -k.")
@click.option("--plot", is_flag=True, help="Draw the best value so far over the trials, or the Pareto front.")
@redis_option
@table_option
def top(
    study: str | None,
    top_k: int,
    all_metrics: bool,
    all_hyper_parameters: bool,
    only_completed: bool,
    front: bool,
    plot: bool,
    redis_url: str | None,
    output_format: str,
) -> None:
    """The best experiments of a study, the best first.

    With several objectives the Pareto front (front 0) comes first: those that no other equals or beats in
    every objective while it beats them in one. Front 1 is what is best without front 0, and so on.
    """
    from controller.commands.tables import console, show, table_of
    from controller.results.top import find_top

    _check_plot(plot, output_format)
    with open_store(resolve(redis_url)) as store:
        record = store.studies.get(pick_study(store, study))
        drawn = _plots(store, record) if plot else []
        found = find_top(
            store,
            record,
            None if front else top_k,
            all_metrics=all_metrics,
            all_hyper_parameters=all_hyper_parameters,
            only_completed=only_completed,
        )
    if output_format == "json":
        print(json.dumps(found.plain(), indent=2))
    elif output_format == "csv":
        show(found.flat(), "csv")
    elif found.details:
        console().print(*drawn, table_of(found.shown(), found.title), sep="\n")
    else:
        missing = " and ".join(metric.key for metric in record.metrics)
        console().print(f"study {record.name}: no task has reported {missing} yet", markup=False)


@click.command()
@study_argument
@click.option(
    "--status", "only", type=click.Choice([s.value for s in Status]), help="Only those in this status."
)
@click.option("--base", is_flag=True, help="The tasks outside any study: base tasks, and those run by hand.")
@click.option("--confirming", is_flag=True, help="The tasks that confirm a study's best.")
@click.option(
    "--limit",
    type=click.IntRange(min=1),
    default=1000,
    show_default=True,
    help="At most so many, the newest.",
)
@click.option("--where", metavar="FILTER", help="Only those that match: lr < 0.01 and status == 'completed'.")
@click.option("--sort", metavar="COLUMN", help="By this column; -COLUMN begins with the highest.")
@click.option("--columns", metavar="NAMES", help="Only these columns, with commas between them.")
@redis_option
@table_option
def tasks(
    study: str | None,
    only: str | None,
    base: bool,
    confirming: bool,
    limit: int,
    where: str | None,
    sort: str | None,
    columns: str | None,
    redis_url: str | None,
    output_format: str,
) -> None:
    """The tasks of a study, in the order of their trials.

    A FILTER compares columns, parameters and metrics, with and, or, not, in, and arithmetic. Names with other
    signs than letters, digits and _ stand in `backticks`. What a task lacks never matches.
    """
    if base:
        if study or where or sort or columns:
            raise BadInput(
                "tasks: --base lists what is outside any study; leave STUDY, --where, --sort, --columns out"
            )
        _base_tasks(only, limit, redis_url, output_format)
        return
    from controller.commands.tables import show

    status, title = Status(only) if only else None, "Tasks of study"
    with open_store(resolve(redis_url)) as store:
        record = store.studies.get(pick_study(store, study))
        if confirming:
            if where or sort or columns:
                raise BadInput("tasks: --confirming takes no --where, --sort, --columns; leave them out")
            from controller.results.tasks import list_confirming

            title = "Tasks that confirm the best of study"
            found = list_confirming(store, record, status, limit)
        elif where or sort or columns:
            from controller.results.task_table import Query, filter_tasks

            names = tuple(name for name in map(str.strip, (columns or "").split(",")) if name)
            query = Query(where=where or "", status=status, sort=sort or "", columns=names, count=limit)
            found = filter_tasks(store, record, query)
            if names:
                rows = [{name: _joined(value) for name, value in row.items()} for row in found]
                show(rows, output_format, raw=found, title=f"{title} {record.name}")
                return
        else:
            from controller.results.tasks import list_tasks

            found = list_tasks(store, record, status, limit)
    show(_task_rows(found, output_format), output_format, raw=found, title=f"{title} {record.name}")


def _joined(value: Any) -> Any:
    """A value in one piece."""
    return ", ".join(map(str, value)) if isinstance(value, list) else value


def _task_rows(found: list[dict[str, Any]], output_format: str) -> list[dict[str, Any]]:
    """Tasks as a table or CSV has them."""
    from controller.results.durations import spoken

    left_out = {"task_id", "started_at", "ended_at", "hyper_parameters"}
    rows = []
    for task in found:
        row = {name: value for name, value in task.items() if name not in left_out}
        row["retries"] = " ".join(str(number) for number in task["retries"])
        row["tags"] = ", ".join(task["tags"])
        if output_format == "table":
            row["task"] = task["task_id"][:8]
            if "confirms" in row:
                row["confirms"] = row["confirms"][:8]
                del row["trial"]
            row["time"] = spoken(row.pop("seconds"))
            # What is long comes last, where a narrow screen has it below the row.
            row |= {name: row.pop(name) for name in ("worker", "reason", "tags", "note")}
            for name in ("tags", "note"):
                if not any(other[name] for other in found):
                    del row[name]
            if row["attempt"] == 1 and all(other["attempt"] == 1 for other in found):
                del row["attempt"]
            if not any(other["retries"] for other in found):
                del row["retries"]
        rows.append(row)
    return rows


def _base_tasks(only: str | None, limit: int, redis_url: str | None, output_format: str) -> None:
    """The newest tasks outside any study."""
    from controller.commands.tables import show
    from controller.results.tasks import why

    with open_store(resolve(redis_url)) as store:
        rows = [
            {
                "task": record.id[:8] if output_format == "table" else record.id,
                "project": record.project,
                "name": record.name,
                "type": record.spec.task_type,
                "status": record.status.value,
                "reason": why(record),
                "created": iso(record.created_at),
                "tags": " ".join(record.all_tags),
            }
            for record in store.tasks.get_many(store.tasks.base_tasks()[:limit])
            if record is not None and only in (None, record.status.value)
        ]
    show(rows, output_format, title="Tasks outside any study")


@click.command()
@click.argument("task")
@redis_option
@click.option("--all-metrics", is_flag=True, help="Also the metrics of the machine (`:monitor:`).")
@click.option("--plot", is_flag=True, help="Draw what it has reported over its iterations.")
@click.option("--command", is_flag=True, help="Print only the line that runs its configuration again.")
@format_option(("table", "json"), "table")
def show(
    task: str, redis_url: str | None, all_metrics: bool, plot: bool, command: bool, output_format: str
) -> None:
    """Everything about one task: parameters, metrics, artifacts, and the traceback if it failed.

    TASK is its id, or the beginning of it.
    """
    from controller.commands.shown_task import print_task
    from controller.commands.tables import console
    from controller.results.tasks import describe

    _check_plot(plot, output_format)
    with open_store(resolve(redis_url)) as store:
        record = store.tasks.get(pick_task(store, task))
        if command:
            from controller.results.rerun import command_line
            from controller.results.task_parts import study_of_task

            line = command_line(record, study_of_task(store, record))
            print(json.dumps({"task": record.id, "command": line}) if output_format == "json" else line)
            return
        about = describe(store, record)
        drawn = _plots(store, record) if plot else []
    if output_format == "json":
        print(json.dumps(about, indent=2))
    else:
        print_task(console(), about, drawn, all_metrics=all_metrics)


@click.command()
@click.argument("task")
@click.option("-f", "--follow", is_flag=True, help="Keep printing what the task writes, until it ends.")
@redis_option
def logs(task: str, follow: bool, redis_url: str | None) -> None:
    """What a task has written to its standard output and error.

    TASK is its id, or the beginning of it. The newest part is kept, at least 1 MiB. Colors are shown, other
    control sequences as text.
    """
    with open_store(resolve(redis_url)) as store:
        task_id = pick_task(store, task)
        position = 0
        while True:
            # The status comes first: once a task has ended, the next read has all of its output.
            over = store.tasks.get(task_id).status in FINISHED
            text, position = store.logs.read(task_id, position)
            sys.stdout.write(output(text))
            sys.stdout.flush()
            if over or not follow:
                return
            time.sleep(0.3)
