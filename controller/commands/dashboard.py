"""``controller dashboard``: optuna-dashboard over a study's storage and artifacts, for this machine's user.

optuna-dashboard has no login, and can change and delete everything. Here it is served on the loopback
interface, to its own pages only, and refuses requests that change something unless they are allowed.
"""

from __future__ import annotations

import json
import re
import socketserver
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, BinaryIO
from urllib.parse import urlsplit
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

from controller.commands.dashboard_pages import ReadOnlyPages
from controller.commands.settings import Settings
from controller.dashboard.hosts import accepted_hosts, bare_host
from worker.artifacts import open_store
from worker.protocol.errors import BadInput
from worker.sdk.optuna_store import OptunaArtifactStore
from worker.trials.storage import check_storage, open_storage

_READS = frozenset(("GET", "HEAD", "OPTIONS"))
_OF_STUDY = re.compile(r"/(?:api/)?artifacts/(\d+)/")
_ID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
"""Of artifacts: Optuna's are UUIDs."""

Respond = Callable[..., Any]
Application = Callable[[dict[str, Any], Respond], Iterable[bytes]]


class StudiesArtifacts:
    """Optuna's artifact store protocol over the artifacts of all studies of a storage.

    An artifact's id doesn't say whose it is; the request's address does, and `Guard` notes it.

    Args:
        storage: Optuna's, whose studies these are.
        default_url: store of studies that are not in `urls`.
        urls: name of a study → its store.
    """

    def __init__(self, storage: Any, default_url: str, urls: Mapping[str, str]) -> None:
        self._storage = storage
        self._default_url = default_url
        self._urls = urls
        self._asked = threading.local()

    def note(self, study_id: int | None) -> None:
        """Note the study that this thread's next calls are about; None for no study."""
        self._asked.study_id = study_id

    def open_reader(self, artifact_id: str) -> BinaryIO:
        """The artifact's bytes. Raises Optuna's ``ArtifactNotFound``."""
        from optuna.artifacts.exceptions import ArtifactNotFound

        within, beside = self._stores(artifact_id)
        try:
            return within.open_reader(artifact_id)
        except ArtifactNotFound:
            return beside.open_reader(artifact_id)

    def write(self, artifact_id: str, content_body: BinaryIO) -> None:
        self._stores(artifact_id)[0].write(artifact_id, content_body)

    def remove(self, artifact_id: str) -> None:
        """Remove it, wherever it is. Raises Optuna's ``ArtifactNotFound``."""
        from optuna.artifacts.exceptions import ArtifactNotFound

        within, beside = self._stores(artifact_id)
        try:
            within.remove(artifact_id)
        except ArtifactNotFound:
            beside.remove(artifact_id)

    def _stores(self, artifact_id: str) -> tuple[OptunaArtifactStore, OptunaArtifactStore]:
        """The study's part of its store, which its tasks write to, and the store's root, which others may.

        Raises Optuna's ``ArtifactNotFound`` for what is no id: it might name another study's, or any file.
        """
        from optuna.artifacts.exceptions import ArtifactNotFound

        if not _ID.fullmatch(artifact_id):
            raise ArtifactNotFound(f"no artifact {artifact_id!r:.200}")
        study_id = getattr(self._asked, "study_id", None)
        name = self._storage.get_study_name_from_id(study_id) if study_id is not None else ""
        store = open_store(self._urls.get(name, self._default_url))
        return OptunaArtifactStore(store, name), OptunaArtifactStore(store, "")


class Guard:
    """Checks each request before optuna-dashboard gets it.

    Args:
        application: optuna-dashboard's.
        artifacts: gets the study that a request is about, by `note`.
        hosts: values of ``Host`` to accept, see `controller.dashboard.hosts`.
        allow_changes: accept requests that change something, from the dashboard's own pages.
    """

    def __init__(
        self,
        application: Application,
        artifacts: StudiesArtifacts,
        hosts: frozenset[str],
        allow_changes: bool,
    ) -> None:
        self._application = application if allow_changes else ReadOnlyPages(application)
        self._artifacts = artifacts
        self._hosts = hosts
        self._allow_changes = allow_changes

    def __call__(self, environ: dict[str, Any], respond: Respond) -> Iterable[bytes]:
        refusal = self._refusal(environ)
        if refusal:
            body = json.dumps({"reason": refusal}).encode()
            respond(
                "403 Forbidden", [("Content-Type", "application/json"), ("Content-Length", str(len(body)))]
            )
            return [body]
        path = str(environ.get("PATH_INFO", ""))
        found = _OF_STUDY.match(path)
        self._artifacts.note(int(found[1]) if found else None)

        def respond_safely(status: str, headers: list[tuple[str, str]], *more: Any) -> Any:
            # optuna-dashboard lets any page read artifacts, and an artifact that is a page would run as ours.
            kept = [(name, value) for name, value in headers if name.lower() != "access-control-allow-origin"]
            kept.append(("X-Content-Type-Options", "nosniff"))
            kept.append(("X-Frame-Options", "DENY"))
            if path.startswith("/artifacts/"):
                kept.append(("Content-Security-Policy", "sandbox"))
            return respond(status, kept, *more)

        return self._application(environ, respond_safely)

    def _refusal(self, environ: Mapping[str, Any]) -> str:
        host = str(environ.get("HTTP_HOST", ""))
        if bare_host(host) not in self._hosts:
            return (
                f"this dashboard is not {host!r:.200}: open it by the address that it has printed, or start "
                "it with --allow-host"
            )
        if environ.get("REQUEST_METHOD") in _READS:
            return ""
        if not self._allow_changes:
            return "this dashboard only shows: start it with --allow-changes to change something"
        origin = environ.get("HTTP_ORIGIN")
        if origin is not None and urlsplit(str(origin)).netloc != host:
            return f"a page of {origin} may not change anything here"
        return ""


class _Server(socketserver.ThreadingMixIn, WSGIServer):
    daemon_threads = True

    def server_bind(self) -> None:
        # WSGIServer's own would ask the name service for this machine's name.
        socketserver.TCPServer.server_bind(self)
        self.server_name, self.server_port = str(self.server_address[0]), int(self.server_address[1])
        self.setup_environ()


class _Handler(WSGIRequestHandler):
    def log_message(self, format: str, *args: Any) -> None:
        """Requests are not worth a line."""


def serve(
    settings: Settings,
    *,
    study: str | None,
    artifact_urls: Mapping[str, str],
    host: str,
    port: int,
    allow_hosts: Sequence[str] = (),
    allow_changes: bool,
    ready: Callable[[str], None],
) -> None:
    """Serve the dashboard until interrupted.

    Args:
        settings: where the storage and the default artifact store are.
        study: the address opens its page; None for the list of all studies.
        artifact_urls: name of a study → its artifact store, as far as known.
        host: address to listen on.
        port: 0 for any that is free.
        allow_hosts: names and addresses by which it is opened, besides this machine's own.
        allow_changes: let the pages change and delete.
        ready: called with the address once it answers.

    Raises:
        BadInput: a package is missing, the storage can't be read, there is no such study, or the port
            is taken or not allowed.
    """
    try:
        import optuna_dashboard
    except ImportError as error:
        raise BadInput(
            "dashboard: optuna-dashboard isn't installed: pip install 'optuna-rq[dashboard]'"
        ) from error
    check_storage(settings.storage_url)
    storage = open_storage(settings.storage_url)
    page = ""
    if study is not None:
        try:
            page = f"studies/{storage.get_study_id_from_name(study)}"
        except KeyError as error:
            raise BadInput(f"no study {study!r} in Optuna's storage") from error
    artifacts = StudiesArtifacts(storage, settings.artifacts_url, artifact_urls)
    hosts = accepted_hosts(host, allow_hosts)
    guard = Guard(optuna_dashboard.wsgi(storage, artifact_store=artifacts), artifacts, hosts, allow_changes)
    try:
        server = make_server(host, port, guard, server_class=_Server, handler_class=_Handler)
    except OSError as error:
        raise BadInput(f"dashboard: can't listen on {host}:{port}: {error.strerror or error}") from error
    with server:
        ready(f"http://{host}:{server.server_port}/dashboard/{page}")
        server.serve_forever(poll_interval=0.2)
