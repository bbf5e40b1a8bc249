"""``controller start``: the command; what it does is in `controller.commands.start`."""

from __future__ import annotations

import contextlib
import sys
from pathlib import Path

import click

from controller.commands.options import format_option, redis_option
from controller.commands.settings import resolve


@click.command()
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
    help="Only continue a study that exists, or only begin a new one. [default: either]",
)
@click.option(
    "--retry-failed",
    is_flag=True,
    help="Run what has failed in the study again, each configuration once, in the place of the failed trial.",
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
@format_option(("rich", "json"), "rich")
def start(
    sweep: str,
    overrides: tuple[str, ...],
    workers: int | None,
    redis_url: str | None,
    storage_url: str | None,
    artifacts_url: str | None,
    resume: bool | None,
    retry_failed: bool,
    hand_over: bool,
    wait: bool,
    metrics_port: str | None,
    output_format: str,
) -> None:
    """Run the study of a sweep file (TOML or YAML), or continue it.

    A study of the same name and search space is continued: what runs is taken up, what ended meanwhile
    is counted, and nothing is repeated. Ctrl-C stops what runs and leaves a study that the same command
    continues.
    """
    from controller.commands.start import StartOptions
    from controller.commands.start import start as run
    from controller.commands.view import make_view
    from controller.sweep import load_sweep
    from worker.protocol.errors import BadInput

    settings = resolve(redis_url, storage_url, artifacts_url)
    loaded = load_sweep(Path(sweep), overrides)
    if retry_failed and resume is False:
        raise BadInput(
            "--retry-failed: what --no-resume begins has no failed trials; leave out one of the two"
        )
    options = StartOptions(
        workers=workers, resume=resume, retry_failed=retry_failed, hand_over=hand_over, wait=wait
    )
    view = make_view(output_format)
    if metrics_port is None:
        sys.exit(run(loaded, settings, options, view))
    from controller.health.metrics import Meter

    with contextlib.closing(Meter(metrics_port, loaded.study.name, view)) as meter:
        sys.exit(run(loaded, settings, options, view, meter))
