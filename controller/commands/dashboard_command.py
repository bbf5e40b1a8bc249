"""``controller dashboard``: the command; the page is in `controller.dashboard`."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import socket
import sys
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

import click

from controller.commands.options import redis_option, storage_option, study_argument
from controller.commands.settings import Settings, resolve, study_storage
from worker.protocol.errors import BadInput, OptunaRQError
from worker.protocol.secrets import READ_TOKEN, TOKEN, secret

if TYPE_CHECKING:
    from controller.commands.dashboard_store import StoreSource
    from controller.dashboard.access import Tokens
    from controller.dashboard.optuna_pages import OptunaPages
    from controller.dashboard.site import Site

LOOPBACK = ("127.0.0.1", "localhost", "::1")
MIN_LENGTH = 16
"""Shortest token that is taken, in characters."""
PACKAGES = ("jinja2", "optuna_dashboard", "plotly", "starlette", "uvicorn")
_file = click.Path(exists=True, dir_okay=False, readable=True)


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
@click.option("--allow-actions", is_flag=True, help="Let the page stop, pause, change; else it only shows.")
@click.option("--allow-changes", is_flag=True, help="Let the pages of optuna-dashboard change and delete.")
@click.option(
    "--token-file", type=_file, help="File with the token that opens the page. [default: a random one]"
)
@click.option("--read-token-file", type=_file, help="File with a second token, which opens it to look only.")
@click.option("--prefix", default="", metavar="PATH", help="Path under which a proxy serves it, as /hpo.")
@click.option(
    "--trusted-proxy", "proxies", multiple=True, metavar="ADDRESS",
    help="Address or network of a proxy that is believed about users and addresses; repeatable.",
)  # fmt: skip
@click.option(
    "--user-header",
    default="",
    metavar="NAME",
    help="Header in which that proxy names the user, for the log.",
)
@redis_option
@storage_option
@click.option("--artifacts", "artifacts_url", metavar="URL", help="Artifact store. [env: ARTIFACT_STORE]")
def dashboard(
    study: str | None,
    port: int,
    host: str,
    allow_hosts: tuple[str, ...],
    allow_actions: bool,
    allow_changes: bool,
    token_file: str | None,
    read_token_file: str | None,
    prefix: str,
    proxies: tuple[str, ...],
    user_header: str,
    redis_url: str | None,
    storage_url: str | None,
    artifacts_url: str | None,
) -> None:
    """Show everything in a browser, live: studies, trials, tasks, workers.

    It prints its address, with a token in it: anybody who has that sees everything. It listens on this
    machine only; from another one, forward the port: ssh -L 8080:127.0.0.1:8080 HEAD. With another --host it
    takes its token from a file, or from OPTUNA_RQ_TOKEN.
    """
    _need_packages()
    from controller.commands.dashboard_store import StoreSource
    from controller.dashboard.guard import Rules
    from controller.dashboard.hosts import accepted_hosts
    from controller.dashboard.proxies import read_proxies
    from controller.dashboard.server import listen, serve
    from controller.search.study import quiet_optuna

    quiet_optuna()
    settings = resolve(redis_url, storage_url, artifacts_url)
    tokens, named = _tokens(token_file, read_token_file, host)
    prefix, believed = _prefix(prefix), read_proxies(proxies, user_header)
    with contextlib.closing(StoreSource(settings)) as source:
        page, listening = _first_page(source, settings, study), listen(host, port)
        number = listening.getsockname()[1]
        rules = Rules(
            tokens=tokens,
            hosts=accepted_hosts(host, allow_hosts),
            allow_actions=allow_actions,
            allow_changes=allow_changes,
            proxies=believed,
            cookie=f"optuna-rq-{number}",
        )
        site = _site(source, settings, allow_actions)
        address = f"http://{_reached_as(host)}:{number}{prefix}{page}"
        optuna = _optuna_pages(source, settings, allow_changes, one_store=artifacts_url is not None)
        with contextlib.suppress(KeyboardInterrupt):
            serve(
                site,
                rules,
                listening,
                prefix=prefix,
                optuna=optuna,
                ready=lambda: _announce(address, None if named else tokens, allow_actions),
            )
    click.echo("dashboard: ended")


def _site(source: StoreSource, settings: Settings, allow_actions: bool) -> Site:
    from controller.dashboard.site import Site

    return Site(
        source,
        storage_url=lambda record: study_storage(record, settings),
        artifacts_url=settings.artifacts_url,
        allow_actions=allow_actions,
    )


def _need_packages() -> None:
    """Raises `BadInput` for a package of the extra that isn't installed."""
    missing = [name for name in PACKAGES if importlib.util.find_spec(name) is None]
    if missing:
        raise BadInput(
            f"dashboard: {', '.join(missing)} can't be imported: pip install 'optuna-rq[dashboard]'"
        )


def _announce(address: str, tokens: Tokens | None, acts: bool) -> None:
    """Print the address, with tokens that nobody has named: what a file has is not written into logs."""
    click.echo(f"dashboard: {address}{f'?token={tokens.full}' if tokens else ''}  (Ctrl-C ends it)")
    if tokens and acts:
        click.echo(f"to look only: {address}?token={tokens.read}")
    sys.stdout.flush()


def _reached_as(host: str) -> str:
    """An address to listen on as a part of a URL; this machine's name where it is all of its addresses."""
    if host in ("0.0.0.0", "::"):
        return socket.gethostname()
    return f"[{host}]" if ":" in host else host


def _optuna_pages(
    source: StoreSource, settings: Settings, allow_changes: bool, *, one_store: bool
) -> OptunaPages:
    """optuna-dashboard over the settings' storage.

    Args:
        one_store: all artifacts are in the settings' store, whatever records say.
    """
    from controller.dashboard.optuna_pages import OptunaPages

    def artifacts_of(name: str) -> str:
        return settings.artifacts_url if one_store else _artifacts_of(source, settings, name)

    return OptunaPages(settings.storage_url, artifacts_of, allow_changes=allow_changes)


def _tokens(token_file: str | None, read_token_file: str | None, host: str) -> tuple[Tokens, bool]:
    """The tokens, and whether somebody has named them.

    Raises:
        BadInput: one is short, both are alike, or others reach the page and nobody has named one.
    """
    from controller.dashboard.access import Tokens

    full = _token("--token-file", token_file, TOKEN)
    read = _token("--read-token-file", read_token_file, READ_TOKEN)
    if full is None:
        if read is not None:
            raise BadInput(
                f"dashboard: a token to look only needs one that opens all: --token-file or {TOKEN}"
            )
        if host not in LOOPBACK:
            raise BadInput(
                f"dashboard: --host {host} lets other machines in: name a file with a token, --token-file "
                f"FILE, or set {TOKEN}; `openssl rand -hex 32 > FILE` makes a good one"
            )
        return Tokens.random(), False
    if full == read:
        raise BadInput("dashboard: the two tokens are the same: one opens all, the other is to look only")
    return Tokens(full=full, read=read or ""), True


def _token(option: str, file: str | None, variable: str) -> str | None:
    """A token from a file or the environment; None without either. Raises `BadInput` for a bad one."""
    where, found = (option, _read(option, file)) if file else (variable, secret(variable, os.environ))
    if found is not None and (len(found) < MIN_LENGTH or not found.isascii() or not found.isprintable()):
        raise BadInput(
            f"dashboard: {where}: a token is at least {MIN_LENGTH} letters, digits and signs on one line; "
            "`openssl rand -hex 32` makes a good one"
        )
    return found


def _read(option: str, file: str) -> str:
    try:
        return Path(file).read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it isn't text"
        raise BadInput(f"dashboard: {option}: {file} can't be read: {reason}") from error


def _prefix(text: str) -> str:
    """The prefix with a slash before it and none behind. Raises `BadInput` for what is no path."""
    found = f"/{text.strip('/')}" if text.strip("/") else ""
    if quote(found, safe="/~") != found or "//" in found or "/." in found:
        raise BadInput(f"dashboard: --prefix {text!r:.200} is no path such as /hpo")
    return found


def _first_page(source: StoreSource, settings: Settings, study: str | None) -> str:
    """The path to open: a study's page, or all studies.

    Raises:
        BadInput: there is no such study, or neither a Redis nor a storage that could show anything.
    """
    from controller.dashboard.addresses import NameConvertor
    from worker.protocol.connection import check

    try:
        store = source()
        check(store.redis, settings.redis_url or "the embedded Redis")
    except OptunaRQError as error:
        # The page says so, and shows all once it is there; what was mistyped never will be.
        if settings.embedded:
            from worker.trials.storage import check_storage

            check_storage(settings.storage_url)
        elif error.exit_code == BadInput.exit_code:
            raise
        click.echo(f"controller: {error}", err=True)
        return "/"
    return f"/studies/{NameConvertor().to_string(store.studies.get(study).name)}" if study else "/"


def _artifacts_of(source: StoreSource, settings: Settings, name: str) -> str:
    """The store of a study's artifacts: its record says so; without Redis, all are looked for in one."""
    from redis import RedisError

    try:
        record = source().studies.find(name)
    except (OptunaRQError, RedisError):
        record = None
    return record.artifacts if record and record.artifacts else settings.artifacts_url
