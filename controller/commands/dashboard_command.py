"""``controller dashboard``: the command; the server is in `controller.commands.dashboard`."""

from __future__ import annotations

import sys

import click

from controller.commands.options import redis_option, storage_option, study_argument
from controller.commands.settings import Settings, open_store, resolve
from worker.protocol.errors import OptunaRQError
from worker.protocol.urls import redact


@click.command()
@study_argument
@click.option(
    "--port", type=click.IntRange(0, 65535), default=8080, show_default=True, help="Port; 0 for any."
)
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option(
    "--allow-host", "allow_hosts", multiple=True, metavar="NAME",
    help="A name or address by which it is opened, as a proxy's, besides this machine's own; repeatable.",
)  # fmt: skip
@click.option("--allow-changes", is_flag=True, help="Let its pages change and delete; else they only show.")
@redis_option
@storage_option
@click.option("--artifacts", "artifacts_url", metavar="URL", help="Artifact store. [env: ARTIFACT_STORE]")
def dashboard(
    study: str | None,
    port: int,
    host: str,
    allow_hosts: tuple[str, ...],
    allow_changes: bool,
    redis_url: str | None,
    storage_url: str | None,
    artifacts_url: str | None,
) -> None:
    """Show studies, trials and artifacts in a browser: optuna-dashboard, on this machine only.

    Anybody who reaches its port sees everything, as it asks for no password. From another machine, forward
    the port: ssh -L 8080:127.0.0.1:8080 HEAD
    """
    from controller.commands.dashboard import serve
    from controller.search.study import quiet_optuna

    quiet_optuna()
    settings = resolve(redis_url, storage_url, artifacts_url)
    # A study's record says where its artifacts are; without Redis, all are taken to be in one store.
    known = _artifact_stores(settings, study) if artifacts_url is None else {}
    if host not in ("127.0.0.1", "localhost", "::1"):
        click.echo(
            f"controller: anybody who reaches {host}:{port} can see all studies: no password", err=True
        )

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
            allow_hosts=allow_hosts,
            allow_changes=allow_changes,
            ready=ready,
        )
    except KeyboardInterrupt:
        click.echo("dashboard: ended")


def _artifact_stores(settings: Settings, study: str | None) -> dict[str, str]:
    """Name → artifact store of the studies whose trials are in the storage, the newest first."""
    try:
        with open_store(settings) as store:
            records = [store.studies.get(name) for name in store.studies.names()]
    except OptunaRQError as error:
        if settings.redis_url is not None:
            click.echo(f"controller: all artifacts are looked for in one store: {error}", err=True)
        return {}
    return {r.name: r.artifacts for r in records if r.storage == redact(settings.storage_url) and r.artifacts}
