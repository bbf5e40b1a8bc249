"""The ``controller`` command."""

from __future__ import annotations

import contextlib
import json
import logging
import math
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import click
import redis

from controller.commands.acl_command import acl
from controller.commands.artifact_commands import artifacts, remove_all
from controller.commands.options import redis_option, storage_option
from controller.commands.settings import Settings, open_store, pick_study, pick_task, resolve
from controller.commands.study_file_commands import export, import_
from worker import __version__
from worker.protocol import FINISHED, OPEN, Reason, Status, Store, StudyState
from worker.protocol.clock import iso
from worker.protocol.connection import can_pass, trouble
from worker.protocol.errors import BadInput, OptunaRQError

_study = click.argument("study", required=False)


def _format(choices: tuple[str, ...], default: str) -> Callable[[Any], Any]:
    return click.option(
        "--format", "output_format", type=click.Choice(choices), default=default, show_default=True,
        help="For people, or for programs.",
    )  # fmt: skip


_table = _format(("table", "json", "csv"), "table")


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, prog_name="controller (optuna-rq)")
def command() -> None:
    """Tune hyper-parameters on your own machines: Optuna asks, RQ carries, workers train.

    \b
    One machine:      controller start sweep.toml
    Several:          REDIS_URL=… ARTIFACT_STORE=s3://… controller start sweep.toml      (head node)
                      REDIS_URL=… worker --slots 4                                       (compute nodes)
    Then, anywhere:   controller top -k 5

    Without REDIS_URL a Redis of its own is kept in .optuna-rq/ of the current folder, and used by the
    other commands called there. Most commands take the STUDY's name; without it, the newest is meant.

    Exit codes: 0 fine, 1 the study failed, 2 bad input, 130 interrupted.
    """


@command.command()
@click.argument("sweep", default="sweep.toml", metavar="[SWEEP]")
@click.option(
    "--set",
    "overrides",
    multiple=True,
    metavar="KEY=VALUE",
    help="Override a key of the sweep file, e.g. budget.max_trials=5; may be repeated.",
)
@click.option(
    "--workers",
    type=click.IntRange(min=0),
    metavar="N",
    help="Local workers to start. [default: one per CPU with the embedded Redis, else 0]",
)
@redis_option
@click.option(
    "--storage",
    "storage_url",
    metavar="URL",
    help="Optuna's storage: sqlite:///…, journal:///…, mysql+pymysql://…, postgresql+psycopg2://… "
    "[env: OPTUNA_STORAGE; default: SQLite in .optuna-rq/]",
)
@click.option(
    "--artifacts",
    "artifacts_url",
    metavar="URL",
    help="Artifact store: file:///…, s3://BUCKET/PREFIX or gs://BUCKET/PREFIX. "
    "[env: ARTIFACT_STORE; default: .optuna-rq/artifacts]",
)
@click.option(
    "--resume/--no-resume",
    default=None,
    help="Only go on with a study that exists, or only begin a new one. [default: either]",
)
@click.option(
    "--hand-over",
    is_flag=True,
    help="On SIGTERM leave what runs to the next controller, rather than stop it.",
)
@click.option(
    "--wait", is_flag=True, help="Wait for a Redis or a storage that can't be reached yet, rather than end."
)
@click.option(
    "--metrics-port",
    metavar="[HOST:]PORT",
    help="Answer /livez, /readyz and /metrics (Prometheus) here; HOST is 127.0.0.1 unless given.",
)
@_format(("rich", "json"), "rich")
def start(
    sweep: str,
    overrides: tuple[str, ...],
    workers: int | None,
    redis_url: str | None,
    storage_url: str | None,
    artifacts_url: str | None,
    resume: bool | None,
    hand_over: bool,
    wait: bool,
    metrics_port: str | None,
    output_format: str,
) -> None:
    """Run the study of a sweep file (TOML or YAML), or go on with it.

    A study of the same name and search space is continued: what runs is taken up, what ended meanwhile
    is counted, and nothing is repeated. Ctrl-C stops what runs and leaves a study that the same command
    continues.
    """
    from controller.commands.start import StartOptions
    from controller.commands.start import start as run
    from controller.commands.view import make_view
    from controller.sweep import load_sweep

    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(message)s")
    settings = resolve(redis_url, storage_url, artifacts_url)
    loaded = load_sweep(Path(sweep), overrides)
    options = StartOptions(workers=workers, resume=resume, hand_over=hand_over, wait=wait)
    view = make_view(output_format)
    if metrics_port is None:
        sys.exit(run(loaded, settings, options, view))
    from controller.health.metrics import Meter

    with contextlib.closing(Meter(metrics_port, loaded.study.name, view)) as meter:
        sys.exit(run(loaded, settings, options, view, meter))


@command.command()
@_study
@redis_option
@_table
def status(study: str | None, redis_url: str | None, output_format: str) -> None:
    """How a study stands: its state, its budgets, its workers."""
    from controller.commands.tables import console, show, table_of
    from controller.results.status import describe_study

    with _store(redis_url) as store:
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
        + (f" ({report['reason']})" if report["reason"] else ""),
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


@command.command()
@_study
@click.option("-k", "top_k", type=click.IntRange(min=1), default=5, show_default=True, help="How many.")
@click.option("--all-metrics", is_flag=True, help="All scalar metrics, not just the objective's.")
@click.option("--all-hyper-parameters", is_flag=True, help="All parameters, not just the searched ones.")
@click.option("--only-completed", is_flag=True, help="Only tasks that completed.")
@click.option("--front", is_flag=True, help="Of several objectives: the whole Pareto front, whatever -k.")
@redis_option
@_table
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

    with _store(redis_url) as store:
        record = store.get_study(pick_study(store, study))
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


@command.command()
@_study
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
@_table
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

    with _store(redis_url) as store:
        name = pick_study(store, study)
        metrics = [metric.key for metric in store.get_study(name).metrics]
        ids = store.study_tasks(name, Status(only) if only else None)[-limit:]
        rows, full = [], []
        for record, scalars in zip(store.get_many(ids), store.scalars(ids), strict=True):
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

    with _store(redis_url) as store:
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
            for record in store.get_many(store.base_tasks()[:limit])
            if record is not None and only in (None, record.status.value)
        ]
    show(rows, output_format, title="Tasks outside any study")


@command.command()
@click.argument("task")
@redis_option
@_format(("table", "json"), "table")
def show(task: str, redis_url: str | None, output_format: str) -> None:
    """Everything about one task: parameters, metrics, artifacts, and the traceback if it failed.

    TASK is its id, or the beginning of it.
    """
    from controller.commands.tables import console, table_of
    from controller.results.tasks import describe

    with _store(redis_url) as store:
        about = describe(store, store.get(pick_task(store, task)))
    if output_format == "json":
        print(json.dumps(about, indent=2))
        return
    out = console()
    plain = ("task_id", "name", "study", "trial", "status", "reason_class", "reason", "attempt", "worker",
             "created_at", "started_at", "ended_at", "compute_s", "iterations")  # fmt: skip
    for name in plain:
        if about[name] not in (None, ""):
            out.print(f"{name:<14} {about[name]}", markup=False)
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
        out.print(about["error"], markup=False)


@command.command()
@click.argument("task")
@click.option("-f", "--follow", is_flag=True, help="Go on as the task writes, until it ends.")
@redis_option
def logs(task: str, follow: bool, redis_url: str | None) -> None:
    """What a task has written to its standard output and error.

    TASK is its id, or the beginning of it. The newest part is kept, at least 1 MiB.
    """
    with _store(redis_url) as store:
        task_id = pick_task(store, task)
        position = 0
        while True:
            # Asked before reading: what was written before the end is in what is read after it.
            over = store.get(task_id).status in FINISHED
            text, position = store.task_log(task_id, position)
            sys.stdout.write(text)
            sys.stdout.flush()
            if over or not follow:
                return
            time.sleep(0.3)


@command.command()
@_study
@click.option("--task", help="Stop one task only: its id, or the beginning of it.")
@redis_option
def stop(study: str | None, task: str | None, redis_url: str | None) -> None:
    """End a study, or one task, in order: what runs is asked to stop, then made to."""
    with _store(redis_url) as store:
        if task:
            record = store.request_stop(pick_task(store, task), Reason.USER, "stopped by hand")
            over = record.status in FINISHED
            click.echo(f"task {record.id[:8]}: {record.status if over else 'asked to stop'}")
            return
        name = pick_study(store, study)
        if not _acts(store, name):
            stopped = _stop_without_controller(store, name)
            click.echo(f"study {name}: no controller acts on it; {stopped} open task(s) asked to stop")
            return
        store.control(name, "stop")
        click.echo(f"study {name}: its controller was asked to stop it")


def _stop_without_controller(store: Store, name: str) -> int:
    from dataclasses import replace

    open_tasks = [task_id for status in OPEN for task_id in store.study_tasks(name, status)]
    for task_id in open_tasks:
        store.request_stop(task_id, Reason.STUDY_STOPPED, "stopped by hand")
    record = store.get_study(name)
    if record.state not in (StudyState.COMPLETED, StudyState.FAILED):
        store.save_study(replace(record, state=StudyState.STOPPED, reason="stopped by hand"))
    return len(open_tasks)


def _acts(store: Store, name: str) -> bool:
    from worker.protocol import keys

    return bool(store.redis.exists(keys.study_lock(name)))


@command.command()
@_study
@redis_option
def pause(study: str | None, redis_url: str | None) -> None:
    """Launch nothing more for now; what runs goes on."""
    _ask(study, redis_url, "pause")


@command.command()
@_study
@redis_option
def resume(study: str | None, redis_url: str | None) -> None:
    """Go on launching after `pause`."""
    _ask(study, redis_url, "resume")


def _ask(study: str | None, redis_url: str | None, request: str) -> None:
    with _store(redis_url) as store:
        name = pick_study(store, study)
        if not _acts(store, name):
            raise BadInput(
                f"study {name!r}: no controller acts on it; `controller start` with its sweep file "
                "goes on with it"
            )
        store.control(name, request)
        click.echo(f"study {name}: its controller was asked to {request}")


@command.command()
@click.argument("study")
@click.option(
    "--trial", type=click.IntRange(min=0), required=True, metavar="N", help="The last that stays, from 0."
)
@click.option("--backup/--no-backup", default=True, show_default=True, help="Copy Optuna's study first.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@redis_option
@storage_option
def rewind(
    study: str, trial: int, backup: bool, yes: bool, redis_url: str | None, storage_url: str | None
) -> None:
    """Take a study back to one of its trials: later ones are discarded, and `start` goes on from there.

    For trials that have ended and are worth nothing, as after an error in the data. A seeded study suggests
    the same again. The artifacts of discarded tasks stay until `controller artifacts gc`.
    """
    from controller.commands.settings import study_storage
    from controller.studies.rewind import rewind as run

    settings = resolve(redis_url, storage_url)
    with open_store(settings) as store:
        record = store.get_study(study)
        url = study_storage(record, settings)
        if not yes:
            click.confirm(f"Discard all trials of study {record.name} after {trial}?", abort=True)
        gone, copied = run(store, record.name, url, trial, backup=backup)
    click.echo(f"study {record.name}: {gone} trial(s) discarded" + (f"; backup: {copied}" if copied else ""))


@command.command()
@click.argument("study")
@click.option("--artifacts", "with_artifacts", is_flag=True, help="Remove its artifacts as well.")
@click.option("--trials", "with_trials", is_flag=True, help="Remove Optuna's study with its trials as well.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@redis_option
@storage_option
def delete(
    study: str,
    with_artifacts: bool,
    with_trials: bool,
    yes: bool,
    redis_url: str | None,
    storage_url: str | None,
) -> None:
    """Remove a study's records from Redis: tasks, scalars, logs.

    Optuna's trials stay, unless --trials is given: a study of that name goes on with them. Its artifacts
    stay, too, unless --artifacts is given; without their records nothing lists them.
    """
    settings = resolve(redis_url, storage_url)
    with open_store(settings) as store:
        name = store.get_study(study).name
        if _acts(store, name):
            raise BadInput(f"study {name!r} is running; stop it first: controller stop {name}")
        if not yes:
            what = " and ".join(
                ["all records", *["all artifacts"] * with_artifacts, *["all trials"] * with_trials]
            )
            click.confirm(f"Remove {what} of study {name}?", abort=True)
        problems = remove_all(store, settings, name) if with_artifacts else []
        if problems:
            problems.insert(0, f"study {name}: its records are kept, as not all artifacts went:")
            raise OptunaRQError("\n".join(problems))
        trials = _delete_trials(store, name, settings) if with_trials else 0
        count = store.delete_study(name)
        click.echo(
            f"study {name}: {count} task(s) removed" + (f", {trials} trial(s) as well" if with_trials else "")
        )


def _delete_trials(store: Store, name: str, settings: Settings) -> int:
    """Remove a study from Optuna's storage; returns how many trials it had."""
    import optuna

    from controller.commands.settings import study_storage
    from controller.search.study import quiet_optuna
    from worker.trials.storage import check_storage, open_storage

    quiet_optuna()
    url = study_storage(store.get_study(name), settings)
    check_storage(url)
    storage = open_storage(url)
    if name not in optuna.get_all_study_names(storage):
        return 0
    count = len(optuna.load_study(study_name=name, storage=storage).get_trials(deepcopy=False))
    optuna.delete_study(study_name=name, storage=storage)
    return count


command.add_command(acl)
command.add_command(artifacts)
command.add_command(export)
command.add_command(import_)


@command.command()
@_study
@click.option(
    "--port", type=click.IntRange(0, 65535), default=8080, show_default=True, help="Port; 0 for any."
)
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option("--allow-changes", is_flag=True, help="Let its pages change and delete; else they only show.")
@redis_option
@storage_option
@click.option("--artifacts", "artifacts_url", metavar="URL", help="Artifact store. [env: ARTIFACT_STORE]")
def dashboard(
    study: str | None,
    port: int,
    host: str,
    allow_changes: bool,
    redis_url: str | None,
    storage_url: str | None,
    artifacts_url: str | None,
) -> None:
    """Show studies, trials and artifacts in a browser: optuna-dashboard, on this machine only.

    Whoever reaches its port sees everything, as it asks nobody who they are. From another machine, forward
    the port: ssh -L 8080:127.0.0.1:8080 HEAD
    """
    from controller.commands.dashboard import serve
    from controller.search.study import quiet_optuna

    quiet_optuna()
    settings = resolve(redis_url, storage_url, artifacts_url)
    # Where each study's artifacts are stands in its record; without Redis all are in the one store.
    known = _artifact_stores(settings, study) if artifacts_url is None else {}
    if host not in ("127.0.0.1", "localhost", "::1"):
        click.echo(f"controller: whoever reaches {host}:{port} can see all studies: no password", err=True)

    def ready(url: str) -> None:
        click.echo(f"dashboard: {url}  (Ctrl-C ends it)")
        sys.stdout.flush()

    try:
        serve(
            settings,
            study=study or next(iter(known), None),
            artifact_urls=known,
            host=host,
            port=port,
            allow_changes=allow_changes,
            ready=ready,
        )
    except KeyboardInterrupt:
        click.echo("dashboard: ended")


def _artifact_stores(settings: Settings, study: str | None) -> dict[str, str]:
    """Name → artifact store of the studies whose trials are in the storage, the newest first."""
    from worker.protocol.urls import redact

    try:
        with open_store(settings) as store:
            records = [store.get_study(name) for name in store.studies()]
    except OptunaRQError as error:
        if settings.redis_url is not None:
            click.echo(f"controller: all artifacts are looked for in one store: {error}", err=True)
        return {}
    return {r.name: r.artifacts for r in records if r.storage == redact(settings.storage_url) and r.artifacts}


@contextlib.contextmanager
def _store(redis_url: str | None) -> Iterator[Store]:
    with open_store(resolve(redis_url)) as store:
        yield store


def main() -> None:
    """Console entry point: one clear line for what a user can mend, and the exit codes of the help."""
    for stream in (sys.stdout, sys.stderr):
        # A terminal that can't show a character gets a "?" for it, and the study goes on.
        with contextlib.suppress(AttributeError, ValueError):
            stream.reconfigure(errors="replace")  # type: ignore[union-attr]
    try:
        command.main(standalone_mode=False)
    except click.ClickException as error:
        error.show()
        sys.exit(2)
    except (click.Abort, KeyboardInterrupt):
        sys.exit(130)
    except OptunaRQError as error:
        for line in str(error).splitlines():
            click.echo(f"controller: {line}", err=True)
        sys.exit(error.exit_code)
    except redis.RedisError as error:
        denied = isinstance(error, redis.exceptions.NoPermissionError)
        text = trouble(error) if denied or can_pass(error) else f"Redis: {error}"
        click.echo(f"controller: {text}", err=True)
        sys.exit(2 if denied else 1)
    except BrokenPipeError:
        sys.exit(0)
    except Exception as error:
        if type(error).__module__.split(".")[0] not in ("optuna", "sqlalchemy"):
            raise
        first = next(iter(str(error).splitlines()), type(error).__name__)
        click.echo(f"controller: Optuna's storage: {first}", err=True)
        sys.exit(1)
    sys.exit(0)


if __name__ == "__main__":
    main()
