"""``controller best``."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from controller.commands.options import redis_option
from controller.commands.settings import open_store, pick_study, pick_task, resolve
from worker.protocol.errors import BadInput
from worker.protocol.printable import one_line

if TYPE_CHECKING:
    from worker.protocol import Store, TaskRecord


@click.command()
@click.argument("study", required=False)
@click.option("--task", metavar="TASK", help="Those of this task. [default: the best one's]")
@click.option("--prefix", default="", metavar="TEXT", help="Before each name, for --format env.")
@click.option(
    "--format", "form", type=click.Choice(("env", "json", "toml", "python", "argv")), default="json",
    show_default=True, help="What the next program reads.",
)  # fmt: skip
@redis_option
def best(study: str | None, task: str | None, prefix: str, form: str, redis_url: str | None) -> None:
    """Print a study's best parameters for the next program, quoted so that it reads just these values.

    \b
    env     eval "$(controller best --format env)"; ./train --lr "$lr"
    argv    eval "./train $(controller best --format argv)"
    json    controller best | jq .lr
    toml    controller best --format toml > best.toml
    python  parameters = ast.literal_eval(text)

    A conditional parameter that the best trial lacks is left out. Of several objectives the first of the
    Pareto front counts, and standard error says so. STUDY may be a file of `controller export`.
    """
    from controller.commands.report_command import study_file
    from controller.insight.best import formatted
    from controller.results.parameters import as_written

    file = study_file(study)
    if file is not None:
        if task:
            raise BadInput("best: --task is for a study in Redis; `controller import` brings a file there")
        from controller.report.facts import gather
        from controller.studies.study_file_data import read_study_file

        data = read_study_file(file)
        found = gather(data, acts=False, top_k=1).best
        records = {one.record.id: one.record for one in data.tasks}
        record = records[found[0].task] if found else None
        name, several = data.study.name, len(data.objectives) > 1
    else:
        with open_store(resolve(redis_url)) as store:
            if task:
                record = store.tasks.get(pick_task(store, task))
                name, several = record.study, False
            else:
                name = pick_study(store, study)
                record, several = _best(store, name)
    if record is None:
        raise BadInput(f"study {one_line(name)}: no trial has a result yet")
    if several:
        click.echo(
            f"study {one_line(name)} has several objectives: task {record.id[:8]} is the first of its Pareto "
            "front; `controller top` lists the others, --task takes one",
            err=True,
        )
    click.echo(formatted(as_written(record, everything=False), form, prefix=prefix))


def _best(store: Store, name: str) -> tuple[TaskRecord | None, bool]:
    """The record of a study's best task, and whether there are several objectives."""
    from controller.results.top import find_top

    study = store.studies.get(name)
    rows = find_top(store, study, 1).details
    if not rows or rows[0]["rank"] is None:
        return None, False
    return store.tasks.get(rows[0]["task_id"]), len(study.metrics) > 1
