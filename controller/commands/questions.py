"""Commands that ask and change nothing: ``status``, ``top``, ``tasks``, ``show``, ``logs``."""

from __future__ import annotations

import json
import math
import sys
import time

import click

from controller.commands.options import format_option, redis_option, study_argument, table_option
from controller.commands.settings import open_store, pick_study, pick_task, resolve
from worker.protocol import FINISHED, Status
from worker.protocol.clock import iso
from worker.protocol.errors import BadInput
from worker.protocol.printable import lines, one_line, output


@click.command()
@study_argument
@redis_option
@table_option
def status(study: str | None, redis_url: str | None, output_format: str) -> None:
    """How a study stands: its state, its budgets, its workers."""
    from controller.commands.tables import console, show, table_of
    from controller.results.status import describe_study

    with open_store(resolve(redis_url)) as store:
        report = describe_study(store, pick_study(store, study))
    if output_format == "json":
        print(json.dumps(report, indent=2))
        return
    rows = [{"budget": name, **values} for name, values in report["budget"].items()]
    if output_format == "csv":
        show(rows, "csv")
        return
    out = console()
    out.print(
        f"study {report['study']}: {report['state']}"
        + (f" ({one_line(report['reason'])})" if report["reason"] else ""),
        markup=False,
    )
    out.print(
        f"objective {', '.join(report['objectives'])} · queue {report['queue']} · "
        f"controller {report['controller'] or '-'}",
        markup=False,
    )
    out.print("tasks: " + (", ".join(f"{n} {s}" for s, n in report["tasks"].items() if n) or "none yet"))
    if rows:
        out.print(table_of(rows, "Budgets"))
    if report["workers"]:
        out.print(table_of(report["workers"], f"Workers of queue {report['queue']}"))
    else:
        out.print(f"no worker serves queue {report['queue']!r}")


@click.command()
@study_argument
@click.option("-k", "top_k", type=click.IntRange(min=1), default=5, show_default=True, help="How many.")
@click.option("--all-metrics", is_flag=True, help="All scalar metrics, not just the objective's.")
@click.option("--all-hyper-parameters", is_flag=True, help="All parameters, not just the searched ones.")
@click.option("--only-completed", is_flag=True, help="Only tasks that completed.")
@click.option("--front", is_flag=True, help="Of several objectives: the whole Pareto front, whatever -k.")
@redis_option
@table_option
def top(
    study: str | None,
    top_k: int,
    all_metrics: bool,
    all_hyper_parameters: bool,
    only_completed: bool,
    front: bool,
    redis_url: str | None,
    output_format: str,
) -> None:
    """The best experiments of a study, the best first.

    With several objectives the Pareto front (front 0) comes first: those that no other equals or beats in
    every objective while it beats them in one. Front 1 is what is best without front 0, and so on.
    """
    from controller.commands.tables import column, console, show, top_table

    with open_store(resolve(redis_url)) as store:
        record = store.studies.get(pick_study(store, study))
        table, details = top_table(
            store,
            record,
            None if front else top_k,
            all_metrics=all_metrics,
            all_hyper_parameters=all_hyper_parameters,
            only_completed=only_completed,
        )
    if output_format == "json":
        print(json.dumps(details, indent=2))
    elif output_format == "csv":
        taken = ("task_id", "status", *(("front",) if len(record.metrics) > 1 else ()))
        rows = [
            {
                **{name: row[name] for name in taken},
                **{column(key, taken): metric["value"] for key, metric in row["metrics"].items()},
                **row["hyper_parameters"],
            }
            for row in details
        ]
        show(rows, "csv")
    elif details:
        console().print(table)
    else:
        missing = " and ".join(metric.key for metric in record.metrics)
        console().print(f"study {record.name}: no task has reported {missing} yet", markup=False)


@click.command()
@study_argument
@click.option(
    "--status", "only", type=click.Choice([s.value for s in Status]), help="Only those in this status."
)
@click.option("--base", is_flag=True, help="The tasks outside any study: base tasks, and those run by hand.")
@click.option(
    "--limit",
    type=click.IntRange(min=1),
    default=1000,
    show_default=True,
    help="At most so many, the newest.",
)
@redis_option
@table_option
def tasks(
    study: str | None, only: str | None, base: bool, limit: int, redis_url: str | None, output_format: str
) -> None:
    """The tasks of a study, in the order of their trials."""
    if base:
        if study:
            raise BadInput("tasks: --base lists what is outside any study; leave the STUDY out")
        _base_tasks(only, limit, redis_url, output_format)
        return
    from controller.commands.tables import column, show

    taken = ("task", "trial", "status", "reason", "attempt", "seconds", "worker",
             "task_id", "started_at", "ended_at")  # fmt: skip

    with open_store(resolve(redis_url)) as store:
        name = pick_study(store, study)
        metrics = [metric.key for metric in store.studies.get(name).metrics]
        ids = store.studies.tasks(name, Status(only) if only else None)[-limit:]
        rows, full = [], []
        for record, scalars in zip(store.tasks.get_many(ids), store.reports.scalars(ids), strict=True):
            if record is None:
                continue
            values = {key: scalars[key].last if key in scalars else None for key in metrics}
            row = {
                "task": record.id,
                "trial": record.trial,
                "status": record.status.value,
                "reason": f"{record.reason_class}: {record.reason}" if record.reason_class else "",
                **{
                    column(key, taken): value if value is not None and math.isfinite(value) else None
                    for key, value in values.items()
                },
                "attempt": record.attempt,
                "seconds": round(record.compute_s, 1),
                "worker": record.worker,
            }
            full.append(
                {
                    **row,
                    "task_id": record.id,
                    "started_at": iso(record.started_at),
                    "ended_at": iso(record.ended_at),
                }
            )
            rows.append({**row, "task": record.id[:8]} if output_format == "table" else row)
    show(rows, output_format, raw=full, title=f"Tasks of study {name}")


def _base_tasks(only: str | None, limit: int, redis_url: str | None, output_format: str) -> None:
    """The newest tasks outside any study."""
    from controller.commands.tables import show

    with open_store(resolve(redis_url)) as store:
        rows = [
            {
                "task": record.id[:8] if output_format == "table" else record.id,
                "project": record.project,
                "name": record.name,
                "type": record.spec.task_type,
                "status": record.status.value,
                "reason": f"{record.reason_class}: {record.reason}" if record.reason_class else "",
                "created": iso(record.created_at),
                "tags": " ".join(record.spec.tags),
            }
            for record in store.tasks.get_many(store.tasks.base_tasks()[:limit])
            if record is not None and only in (None, record.status.value)
        ]
    show(rows, output_format, title="Tasks outside any study")


@click.command()
@click.argument("task")
@redis_option
@format_option(("table", "json"), "table")
def show(task: str, redis_url: str | None, output_format: str) -> None:
    """Everything about one task: parameters, metrics, artifacts, and the traceback if it failed.

    TASK is its id, or the beginning of it.
    """
    from controller.commands.tables import console, table_of
    from controller.results.tasks import describe

    with open_store(resolve(redis_url)) as store:
        about = describe(store, store.tasks.get(pick_task(store, task)))
    if output_format == "json":
        print(json.dumps(about, indent=2))
        return
    out = console()
    plain = ("task_id", "name", "study", "trial", "status", "reason_class", "reason", "attempt", "worker",
             "created_at", "started_at", "ended_at", "compute_s", "iterations")  # fmt: skip
    for name in plain:
        if about[name] not in (None, ""):
            out.print(f"{name:<14} {one_line(str(about[name]))}", markup=False)
    if about["hyper_parameters"]:
        out.print(table_of([{"parameter": k, "value": v} for k, v in about["hyper_parameters"].items()]))
    if about["metrics"]:
        out.print(
            table_of(
                [
                    {"metric": k, **{n: m[n] for n in ("value", "min_value", "max_value")}}
                    for k, m in about["metrics"].items()
                ]
            )
        )
    if about["artifacts"]:
        out.print(
            table_of(
                [
                    {"artifact": k, "file": a["filename"], "bytes": a["size"], "url": a["url"]}
                    for k, a in about["artifacts"].items()
                ]
            )
        )
    if about["error"]:
        out.print(lines(about["error"]), markup=False)


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
